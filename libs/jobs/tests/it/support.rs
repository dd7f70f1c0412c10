use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use quartet_common::clock::Clock;
use quartet_jobs::Runner;
use quartet_telemetry::metrics::Metrics;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) struct TestRunner {
    pub(crate) runner: Runner,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: CancellationToken,
}

pub(crate) fn runner() -> TestRunner {
    let metrics = Metrics::new("test");
    let shutdown = CancellationToken::new();
    TestRunner {
        runner: Runner::new(&metrics, Clock::system(), shutdown.clone()),
        metrics,
        shutdown,
    }
}

impl TestRunner {
    /// The value of a metric of a job.
    pub(crate) fn value(&self, name: &str, job: &str) -> f64 {
        let text = self.metrics.render();
        let series = format!("{name}{{service=\"test\",job_name=\"{job}\"}} ");
        text.lines()
            .find_map(|line| line.strip_prefix(&series))
            .unwrap_or_else(|| panic!("no {series} in {text}"))
            .parse()
            .unwrap()
    }
}

/// Notes when runs begin, in time since it was made.
#[derive(Clone)]
pub(crate) struct Log {
    start: Instant,
    runs: Arc<Mutex<Vec<Duration>>>,
    count: Arc<AtomicU32>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            runs: Arc::default(),
            count: Arc::default(),
        }
    }

    /// The number of this run, counted from 1.
    pub(crate) fn note(&self) -> u32 {
        self.runs.lock().unwrap().push(self.start.elapsed());
        self.count.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn count(&self) -> u32 {
        self.count.load(Ordering::SeqCst)
    }

    /// Whole seconds from one run to the next.
    pub(crate) fn gaps(&self) -> Vec<u64> {
        let runs = self.runs.lock().unwrap();
        runs.windows(2)
            .map(|pair| pair[1].saturating_sub(pair[0]).as_secs())
            .collect()
    }
}

/// Lets everything happen that is due within this time.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
