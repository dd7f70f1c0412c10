use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use quartet_devstack::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// Records SIGINT, SIGTERM and SIGHUP, which would end the process otherwise.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals {
    cancel: Cancel,
    last: Arc<AtomicUsize>,
}

impl Signals {
    pub(crate) fn install() -> anyhow::Result<Self> {
        let signals = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let number = usize::try_from(signal).unwrap_or_default();
            flag::register_usize(signal, Arc::clone(&signals.last), number)
                .and_then(|_| flag::register(signal, signals.cancel.flag()))
                .context("install a signal handler")?;
        }
        Ok(signals)
    }

    /// The flag that ends all waiting.
    pub(crate) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    pub(crate) fn received(&self) -> bool {
        self.cancel.is_set()
    }

    /// Whether it was Ctrl-C, which the terminal sends to child processes too.
    pub(crate) fn sent_by_terminal(&self) -> bool {
        usize::try_from(SIGINT) == Ok(self.last.load(Ordering::Relaxed))
    }
}
