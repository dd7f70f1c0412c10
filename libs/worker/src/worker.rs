//! Takes jobs from the queue and does them, under the supervision of a [`Runner`].

use std::{fmt, sync::Arc, time::Duration};

use graphile_worker::{
    Database, JobDefinition, TaskHandler as _, WorkerOptions, WorkerRecoveryConfig,
    WorkerShutdownConfig,
};
use quartet_db::{Rounds, rounds};
use quartet_jobs::{Job, Run, Runner};
use quartet_telemetry::metrics::Metrics;
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    driver::Driver,
    handler::{Handler, TaskContext},
    metrics::TaskMetrics,
    store,
    task::Task,
};

/// Heartbeats in the time after which a worker without one is dead.
const HEARTBEATS: u32 = 3;
const SUCCESS_INTERVAL: Duration = Duration::from_secs(15);
const WATCH_INTERVAL: Duration = Duration::from_secs(15);
const PURGE_BATCH: i64 = 1000;
/// The rest is for the next run.
const PURGE_LIMIT: Duration = Duration::from_mins(1);

/// How a worker works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Jobs at once.
    pub concurrency: usize,
    pub poll_interval: Duration,
    /// How long running jobs have at shutdown.
    pub grace: Duration,
    /// Canceled when the process shuts down: no further jobs are taken, long before the [`Runner`]
    /// stops, which waits for the requests.
    pub shutdown: CancellationToken,
    /// Without a sign of life for this long, a worker is dead, and its jobs are taken by others.
    pub dead_after: Duration,
}

type Start = Box<
    dyn for<'a> Fn(
            &'a mut PgConnection,
        ) -> futures_util::future::BoxFuture<'a, Result<(), sqlx::Error>>
        + Send
        + Sync,
>;

/// The tasks of a service, which all work with a `C`.
pub struct Tasks<C> {
    context: C,
    jobs: Vec<JobDefinition>,
    crontab: String,
    start: Vec<Start>,
}

impl<C> fmt::Debug for Tasks<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tasks")
    }
}

impl<C: Clone + Send + Sync + 'static> Tasks<C> {
    /// No tasks yet; those that are added work with `context`.
    pub fn new(context: C) -> Self {
        Self {
            context,
            jobs: Vec::new(),
            crontab: String::new(),
            start: Vec::new(),
        }
    }

    /// Adds a task.
    #[must_use]
    pub fn with<T: Task<Context = C> + Default>(mut self) -> Self {
        self.jobs.push(Handler::<T>::definition());
        if let Some(cron) = T::CRON {
            let (name, max) = (T::NAME, T::MAX_ATTEMPTS);
            // With a key, a tick replaces the job of an earlier one that still waits.
            let line = format!("{cron} {name} ?max={max}&jobKey={name}&fill=10m\n");
            self.crontab.push_str(&line);
        }
        if T::AT_START {
            self.start.push(Box::new(|db| {
                Box::pin(async move { store::add(db, &T::default(), Some(T::NAME)).await })
            }));
        }
        self
    }
}

/// The worker of a process.
#[derive(Clone)]
pub struct Worker(Arc<Inner>);

struct Inner {
    db: PgPool,
    schema: &'static str,
    jobs: Vec<JobDefinition>,
    crontab: String,
    start: Vec<Start>,
    /// Adds what the tasks work with.
    share: Box<dyn Fn(WorkerOptions) -> WorkerOptions + Send + Sync>,
    settings: Settings,
    metrics: TaskMetrics,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Worker")
    }
}

impl Worker {
    /// A worker for the queue in `schema`. `db` is for the queue alone: tasks have pools of their own.
    #[must_use]
    pub fn new<C: Clone + Send + Sync + 'static>(
        db: PgPool,
        schema: &'static str,
        tasks: Tasks<C>,
        settings: Settings,
        metrics: &Metrics,
    ) -> Self {
        let metrics = TaskMetrics::register(metrics);
        let shared = TaskContext {
            db: db.clone(),
            context: tasks.context,
            metrics: metrics.clone(),
        };
        Self(Arc::new(Inner {
            db,
            schema,
            jobs: tasks.jobs,
            crontab: tasks.crontab,
            start: tasks.start,
            share: Box::new(move |options| options.add_extension(shared.clone())),
            settings,
            metrics,
        }))
    }

    /// Starts the worker, and what watches the queue.
    pub fn start(&self, runner: &mut Runner) {
        let this = self.clone();
        let work = Job::continuous("worker", Duration::from_mins(1), move |run| {
            let this = this.clone();
            async move { this.work(run).await }
        });
        runner.start(work.finish_at_stop());
        let this = self.clone();
        let watch = Job::periodic("worker_watch", WATCH_INTERVAL, move |run| {
            let (this, until) = (this.clone(), Instant::now() + PURGE_LIMIT);
            async move {
                this.watch(&|| run.is_stopping() || Instant::now() >= until)
                    .await
            }
        });
        runner.start(watch.cancel_at_stop());
    }

    /// What operators should know, for `/ready`.
    pub fn notices(&self) -> Vec<String> {
        let dead = self.0.metrics.dead();
        let notice = (dead > 0).then(|| format!("{dead} dead letters"));
        notice.into_iter().collect()
    }

    /// Works until the process stops, or the queue fails.
    async fn work(&self, run: Run) -> anyhow::Result<()> {
        let inner = &self.0;
        for start in &inner.start {
            let mut db = quartet_db::write(&inner.db).await?;
            start(&mut db).await?;
            db.commit().await?;
        }
        let (stop, exit) = (run.clone(), inner.settings.shutdown.clone());
        let shutdown = WorkerShutdownConfig::default()
            .listen_os_shutdown_signals(false)
            .grace_period(inner.settings.grace)
            .interrupted_job_retry_delay(Duration::ZERO)
            .shutdown_signal(async move {
                tokio::select! {
                    () = stop.stopping() => {}
                    () = exit.cancelled() => {}
                }
            });
        let recovery = WorkerRecoveryConfig::default()
            .heartbeat_interval(inner.settings.dead_after / HEARTBEATS)
            .sweep_interval(inner.settings.dead_after / HEARTBEATS)
            .sweep_threshold(inner.settings.dead_after)
            .recovery_delay(Duration::ZERO);
        let options = WorkerOptions::default()
            .database(Database::new(Driver(inner.db.clone())))
            .schema(inner.schema)
            .concurrency(inner.settings.concurrency.max(1))
            .poll_interval(inner.settings.poll_interval)
            // A connection that listens cannot pass a pooler in transaction mode.
            .use_notification_delivery(false)
            .worker_shutdown(shutdown)
            .worker_recovery(recovery)
            .define_jobs(inner.jobs.iter().cloned());
        let worker = (inner.share)(options)
            .with_cron(inner.crontab.as_str())?
            .init()
            .await?;
        let working = worker.run();
        tokio::pin!(working);
        // The worker reports failures of the queue by ending; while it runs, all is well.
        let mut tick = tokio::time::interval(SUCCESS_INTERVAL);
        loop {
            tokio::select! {
                ended = &mut working => {
                    ended?;
                    break;
                }
                _ = tick.tick() => run.succeeded(),
            }
        }
        // A job that ends before the runner stops is started again.
        if inner.settings.shutdown.is_cancelled() {
            run.stopping().await;
        }
        Ok(())
    }

    /// Reads what waits, and deletes dead letters that are over. `stopping` ends it between two rounds.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn watch(&self, stopping: &(dyn Fn() -> bool + Sync)) -> Result<(), sqlx::Error> {
        let db = &self.0.db;
        let backlog = store::backlog(&mut *quartet_db::read(db).await?).await?;
        self.0.metrics.observe(&backlog);
        let limit = PURGE_BATCH;
        let rounds = Rounds {
            db,
            limit,
            stopping,
        };
        rounds!(rounds, |db, limit| store::purge_dead(db, limit));
        Ok(())
    }
}
