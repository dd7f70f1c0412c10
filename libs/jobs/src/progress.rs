//! How a job is doing: shared by its supervisor, its run, and readiness.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quartet_common::clock::Clock;
use tokio::time::Instant;

use crate::metrics::JobSeries;

#[derive(Debug)]
pub(crate) struct Progress {
    name: &'static str,
    stale_after: Duration,
    clock: Clock,
    series: JobSeries,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last_success: Instant,
    /// In a row.
    failures: u32,
}

impl Progress {
    pub(crate) fn new(
        name: &'static str,
        stale_after: Duration,
        series: JobSeries,
        clock: Clock,
    ) -> Self {
        let progress = Self {
            name,
            stale_after,
            clock,
            series,
            state: Mutex::new(State {
                last_success: Instant::now(),
                failures: 0,
            }),
        };
        let limit = progress.stale_after.as_secs_f64();
        progress.series.stale_after.set(limit);
        progress.stamp();
        progress
    }

    /// Returns how many failures in a row this success ends.
    pub(crate) fn succeeded(&self) -> u32 {
        self.stamp();
        let mut state = self.state();
        state.last_success = Instant::now();
        std::mem::take(&mut state.failures)
    }

    /// Returns how many failures in a row there are now.
    pub(crate) fn failed(&self) -> u32 {
        self.series.failures.inc();
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        state.failures
    }

    pub(crate) fn ended(&self, duration: Duration) {
        self.series.runs.inc();
        self.series.duration.observe(duration.as_secs_f64());
    }

    fn stale(&self) -> Option<Stale> {
        let state = self.state();
        let without_success = state.last_success.elapsed();
        (without_success > self.stale_after).then_some(Stale {
            name: self.name,
            without_success,
            failures: state.failures,
        })
    }

    fn stamp(&self) {
        let micros = self.clock.now().timestamp_micros();
        #[expect(
            clippy::cast_precision_loss,
            reason = "microseconds since 1970 fit into 53 bits until 2255"
        )]
        self.series.last_success.set(micros as f64 / 1e6);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job that has not succeeded for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    pub name: &'static str,
    pub without_success: Duration,
    /// In a row.
    pub failures: u32,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: no success for {} s, {} failures in a row",
            self.name,
            self.without_success.as_secs(),
            self.failures
        )
    }
}

/// Sees all jobs of a runner, also those that start later. Clones see the same.
#[derive(Clone, Debug, Default)]
pub struct Monitor(Arc<Mutex<Vec<Arc<Progress>>>>);

impl Monitor {
    pub(crate) fn add(&self, progress: Arc<Progress>) {
        self.jobs().push(progress);
    }

    /// The jobs without a success for longer than their limit.
    pub fn stale(&self) -> Vec<Stale> {
        self.jobs().iter().filter_map(|job| job.stale()).collect()
    }

    /// The same as text, for `Readiness::notice`. It names no error: errors may hold secrets.
    pub fn notices(&self) -> Vec<String> {
        self.stale().iter().map(ToString::to_string).collect()
    }

    fn jobs(&self) -> MutexGuard<'_, Vec<Arc<Progress>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
