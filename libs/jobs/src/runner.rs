//! Starts jobs, keeps them going, and stops them.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use anyhow::anyhow;
use futures_util::{FutureExt as _, future::BoxFuture};
use quartet_common::{causes, clock::Clock};
use quartet_telemetry::{self as telemetry, RUN, metrics::Metrics, panic_message, spans_enabled};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use crate::{
    job::{Job, Run},
    metrics::JobMetrics,
    progress::{Monitor, Progress},
};

/// Supervises the jobs of one process. Dropping it cancels them; [`Runner::stop`] lets them
/// finish.
#[derive(Debug)]
pub struct Runner {
    clock: Clock,
    metrics: JobMetrics,
    monitor: Monitor,
    stop: CancellationToken,
    shutdown: CancellationToken,
    tasks: JoinSet<TaskResult>,
    names: Vec<&'static str>,
}

/// The end of a job's task; an error only from essential work.
type TaskResult = (&'static str, anyhow::Result<()>);

impl Runner {
    /// A runner without jobs. `shutdown` is the token of the process: an essential job that fails
    /// cancels it.
    pub fn new(metrics: &Metrics, clock: Clock, shutdown: CancellationToken) -> Self {
        Self {
            clock,
            metrics: JobMetrics::new(metrics),
            monitor: Monitor::default(),
            stop: CancellationToken::new(),
            shutdown,
            tasks: JoinSet::new(),
            names: Vec::new(),
        }
    }

    /// Starts a job on the current Tokio runtime. Names are unique within a process: they label
    /// metrics.
    pub fn start(&mut self, job: Job) {
        let supervisor = Supervisor {
            progress: self.watch(job.name, job.stale_after),
            job,
            stop: self.stop.clone(),
        };
        self.names.push(supervisor.job.name);
        self.tasks.spawn(async move {
            supervisor.run().await;
            (supervisor.job.name, Ok(()))
        });
    }

    /// Starts work without which the process must not go on. If it fails or panics, the process
    /// shuts down, and [`Runner::stop`] returns the error. It is never canceled before the end of
    /// the grace period: it has to notice by itself that there is nothing left to do.
    ///
    /// It has no runs that begin and end, so that it reports its steps: [`Run::attempted`], or
    /// [`Run::succeeded`] while there is nothing to do, at least once per `stale_after`.
    pub fn start_essential<F, Fut>(&mut self, name: &'static str, stale_after: Duration, work: F)
    where
        F: FnOnce(Run) -> Fut + Send + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let run = Run {
            stop: self.stop.clone(),
            progress: Some(self.watch(name, stale_after)),
        };
        let shutdown = self.shutdown.clone();
        self.names.push(name);
        self.tasks.spawn(async move {
            // Inside the future, so that a panic while it is built is caught as well.
            let run = caught(Box::pin(async move { work(run).await }));
            let result = RUN.scope(telemetry::Run::Job(name), run).await;
            if let Err(error) = &result {
                tracing::error!(
                    target: "quartet",
                    job = name,
                    error = causes(error.as_ref()),
                    "essential job failed, shutting down"
                );
                shutdown.cancel();
            }
            (name, result)
        });
    }

    fn watch(&self, name: &'static str, stale_after: Duration) -> Arc<Progress> {
        let series = self.metrics.series(name);
        let progress = Progress::new(name, stale_after, series, self.clock.clone());
        let progress = Arc::new(progress);
        self.monitor.add(Arc::clone(&progress));
        progress
    }

    /// What readiness asks for stale jobs.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// Starts no further runs, and gives those in progress this long to end before they are
    /// canceled. Returns the names of the jobs that were.
    ///
    /// # Errors
    /// The first error of an essential job.
    pub async fn stop(mut self, grace: Duration) -> anyhow::Result<Vec<&'static str>> {
        self.stop.cancel();
        let deadline = Instant::now() + grace;
        let mut outcome = Ok(());
        while let Ok(Some(joined)) = timeout_at(deadline, self.tasks.join_next()).await {
            // Panics are caught inside the task, and none is aborted before.
            let Ok((name, result)) = joined else { continue };
            self.names.retain(|running| *running != name);
            if outcome.is_ok() {
                outcome = result;
            }
        }
        self.tasks.shutdown().await;
        if !self.names.is_empty() {
            let jobs = self.names.join(", ");
            tracing::warn!(target: "quartet", jobs, "jobs canceled at the end of the grace period");
        }
        outcome.map(|()| self.names)
    }
}

struct Supervisor {
    job: Job,
    progress: Arc<Progress>,
    stop: CancellationToken,
}

impl Supervisor {
    async fn run(&self) {
        let mut failures = 0;
        let mut pause = if self.job.immediately {
            Duration::ZERO
        } else {
            self.job.pause()
        };
        while self.wait(pause, failures).await {
            let started = Instant::now();
            let Some(result) = self.run_once().await else {
                return;
            };
            self.progress.ended(started.elapsed());
            (failures, pause) = self.settle(result);
        }
    }

    /// Waits until the next run is due; false when there is to be none.
    async fn wait(&self, pause: Duration, failures: u32) -> bool {
        let woken = async {
            match &self.job.wake {
                // A failing job is not woken out of its backoff.
                Some(wake) if failures == 0 => wake.notified().await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = woken => true,
            () = sleep(pause) => true,
        }
    }

    /// `None` when the run was canceled by the shutdown, or ended because of it.
    async fn run_once(&self) -> Option<anyhow::Result<()>> {
        let context = Run {
            stop: self.stop.clone(),
            progress: Some(Arc::clone(&self.progress)),
        };
        // Inside the future, so that a panic while it is built is caught as well.
        let work = async move { self.job.run(context).await };
        // A continuous job is one run for as long as the process lives: a span of it would be sent at
        // the end of the process, long after those within it.
        let span = if spans_enabled() && !self.job.continuous {
            let name = format!("job.{}", self.job.name);
            tracing::info_span!(target: "quartet", "job", otel.name = name)
        } else {
            Span::none()
        };
        let run = caught(Box::pin(work.instrument(span)));
        let run = RUN.scope(telemetry::Run::Job(self.job.name), run);
        let result = if self.job.cancel_at_stop {
            self.stop.run_until_cancelled(run).await?
        } else {
            run.await
        };
        if self.job.continuous && result.is_ok() {
            if self.stop.is_cancelled() {
                return None;
            }
            return Some(Err(anyhow!("ended")));
        }
        Some(result)
    }

    /// Records how a run ended; returns the failures in a row and the wait until the next run.
    fn settle(&self, result: anyhow::Result<()>) -> (u32, Duration) {
        let job = self.job.name;
        let Err(error) = result else {
            let failures = self.progress.succeeded();
            if failures > 0 {
                tracing::info!(target: "quartet", job, failures, "job recovered");
            }
            return (0, self.job.pause());
        };
        let failures = self.progress.failed();
        let pause = self.job.pause_after(failures);
        tracing::warn!(
            target: "quartet",
            job,
            error = causes(error.as_ref()),
            failures,
            retry_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "job failed"
        );
        (failures, pause)
    }
}

async fn caught(work: BoxFuture<'_, anyhow::Result<()>>) -> anyhow::Result<()> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| Err(anyhow!("panic: {}", panic_message(&*panic))))
}
