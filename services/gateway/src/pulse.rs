//! Whether the threads that serve requests still run.
//!
//! Probes are answered by other threads. If the public ones hang, only this check shows it to the balancer.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

const INTERVAL: Duration = Duration::from_secs(1);
/// Longer than any pause that a busy machine explains.
const LATEST: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Pulse {
    origin: Instant,
    /// Milliseconds after `origin`.
    beat: AtomicU64,
    started: OnceLock<()>,
}

impl Pulse {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            origin: Instant::now(),
            beat: AtomicU64::new(0),
            started: OnceLock::new(),
        })
    }

    /// Beats on the current runtime from now on.
    pub(crate) fn start(self: &Arc<Self>) {
        if self.started.get().is_some() {
            return;
        }
        self.started.get_or_init(|| {
            let pulse = Arc::clone(self);
            pulse.touch();
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(INTERVAL).await;
                    pulse.touch();
                }
            });
        });
    }

    fn touch(&self) {
        let elapsed = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat.store(elapsed, Ordering::Relaxed);
    }

    /// # Errors
    /// When the public threads have not run for some seconds.
    pub(crate) fn check(&self) -> Result<(), String> {
        let beat = Duration::from_millis(self.beat.load(Ordering::Relaxed));
        let silent = self.origin.elapsed().saturating_sub(beat);
        // Before the first connection there is nothing to hear.
        if self.started.get().is_none() || silent < LATEST {
            return Ok(());
        }
        Err(format!(
            "the public threads have not run for {} s",
            silent.as_secs()
        ))
    }
}
