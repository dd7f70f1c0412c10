//! Requests in the background during faults.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::task::JoinHandle;

use super::wait::eventually;

/// The outcome of a load.
#[derive(Debug)]
pub(crate) struct LoadResult {
    pub(crate) started: u64,
    pub(crate) failures: Vec<String>,
}

#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    started: AtomicU64,
    succeeded: AtomicU64,
    failures: Mutex<Vec<String>>,
}

/// Workers that repeat one request until they are stopped.
pub(crate) struct Load {
    counts: Arc<Counts>,
    workers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts `workers` tasks; each call of `request` gets a unique number.
    pub(crate) fn start<F, Fut>(workers: usize, request: F) -> Self
    where
        F: Fn(u64) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        let counts = Arc::new(Counts::default());
        let request = Arc::new(request);
        let mut tasks = Vec::new();
        for _ in 0..workers {
            let (counts, request) = (Arc::clone(&counts), Arc::clone(&request));
            tasks.push(tokio::spawn(async move {
                while !counts.stop.load(Ordering::Relaxed) {
                    let number = counts.started.fetch_add(1, Ordering::Relaxed);
                    match request(number).await {
                        Ok(()) => {
                            counts.succeeded.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(failure) => counts.note(failure).await,
                    }
                }
            }));
        }
        Self {
            counts,
            workers: tasks,
        }
    }

    /// Waits until this many more requests have succeeded.
    pub(crate) async fn progress(&self, more: u64) {
        let goal = self.counts.succeeded.load(Ordering::Relaxed) + more;
        eventually(
            &format!("{more} more requests of the load succeed"),
            || async {
                self.check_workers();
                (self.counts.succeeded.load(Ordering::Relaxed) >= goal).then_some(())
            },
        )
        .await;
    }

    /// Waits until another request has failed.
    pub(crate) async fn next_failure(&self) {
        let before = self.counts.failures().len();
        eventually("a request of the load fails", || async {
            self.check_workers();
            (self.counts.failures().len() > before).then_some(())
        })
        .await;
    }

    /// Workers end early only by a panic, which has reported the cause.
    fn check_workers(&self) {
        let running = self
            .workers
            .iter()
            .filter(|worker| !worker.is_finished())
            .count();
        assert_eq!(
            running,
            self.workers.len(),
            "a worker of the load has ended"
        );
    }

    /// Lets every worker finish its request. A worker that panicked fails the test.
    pub(crate) async fn finish(self) -> LoadResult {
        self.counts.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.await.unwrap();
        }
        LoadResult {
            started: self.counts.started.load(Ordering::Relaxed),
            failures: self.counts.failures(),
        }
    }
}

impl Counts {
    async fn note(&self, failure: String) {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(failure);
        // Immediate refusals must not turn the load into a busy loop.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }

    fn failures(&self) -> Vec<String> {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl LoadResult {
    /// Fails the test unless every request succeeded.
    #[track_caller]
    pub(crate) fn expect_no_failure(&self) {
        let shown = &self.failures[..self.failures.len().min(10)];
        assert!(
            self.failures.is_empty(),
            "{} of {} requests failed: {shown:#?}",
            self.failures.len(),
            self.started
        );
    }
}
