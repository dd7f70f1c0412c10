//! One running service, from its settings to an orderly stop.

use std::time::Duration;

use axum::Router;
use quartet_db::STANDBY_CHECK;
use quartet_http::{front::App, health::Readiness, serve::serve_over, tls::ServiceTransport};
use quartet_jobs::{Job, Runner};
use quartet_worker::Worker;
use tokio::{
    net::TcpListener,
    time::{Instant, timeout_at},
};

use crate::{base::Base, service::Service};

/// After this time without a sign of life, the durable jobs of a worker are taken by another one.
const DEAD_AFTER: Duration = Duration::from_secs(30);
/// What is left for the end of the process when requests have taken the whole grace period.
const LAST_GRACE: Duration = Duration::from_secs(1);

/// When the process ends at the latest, once it begins to shut down: orchestrators kill it soon
/// after. One time for all that is left to do, not one for each part of it.
async fn deadline(base: &Base) -> Instant {
    base.shutdown.cancelled().await;
    let server = &base.server;
    Instant::now() + Duration::from_secs(server.drain_seconds + server.shutdown_grace_seconds)
}

/// A replica that has not served yet. Dropping it cancels its jobs.
pub struct Replica<S: Service> {
    pub base: Base,
    pub state: S::State,
    readiness: Readiness,
    jobs: Runner,
    worker: Worker,
}

impl<S: Service> Replica<S> {
    /// A replica without jobs.
    ///
    /// # Errors
    /// When a setting is invalid or a resource on this machine is not available.
    pub fn new(config: S::Config, base: Base) -> anyhow::Result<Self> {
        let state = S::state(config, base.clone())?;
        let jobs = Runner::new(&base.metrics, base.clock.clone(), base.shutdown.clone());
        let monitor = jobs.monitor();
        let readiness = base
            .readiness::<S>(&state)
            .notice("jobs", move || monitor.notices());
        let drain = Duration::from_secs(base.server.drain_seconds);
        let grace = Duration::from_secs(base.server.shutdown_grace_seconds);
        let settings = quartet_worker::Settings {
            concurrency: usize::try_from(base.worker.concurrency)?,
            poll_interval: Duration::from_millis(base.worker.poll_interval_ms),
            // The runner cancels what takes longer.
            grace: (drain + grace).saturating_sub(LAST_GRACE),
            dead_after: DEAD_AFTER,
            shutdown: base.shutdown.clone(),
        };
        let (db, tasks) = (base.queue_db.clone(), S::tasks(&state));
        let worker = Worker::new(db, S::NAME, tasks, settings, &base.metrics);
        let notices = worker.clone();
        let readiness = readiness.notice("worker", move || notices.notices());
        Ok(Self {
            base,
            state,
            readiness,
            jobs,
            worker,
        })
    }

    /// Prepares what requests depend on, and starts the jobs, those of [`Self::work`] included unless
    /// `worker.in_serve` is false.
    ///
    /// # Errors
    /// When the preparation fails, for instance because the database does not respond.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        self.base.verifier.prefetch();
        self.watch_standby();
        S::start(&self.state, &mut self.jobs).await?;
        if self.base.worker.in_serve {
            self.work();
        }
        Ok(())
    }

    /// Measures how far a standby lags, for what reads from it. Only requests do.
    fn watch_standby(&mut self) {
        let reads = self.base.reads.clone();
        if reads.has_standby() {
            let check = move |_| {
                let reads = reads.clone();
                async move { reads.check().await }
            };
            let job = Job::periodic("standby", STANDBY_CHECK, check);
            self.jobs.start(job.immediately().cancel_at_stop());
        }
    }

    /// Starts to work on durable jobs. What they read is of the primary.
    pub fn work(&mut self) {
        self.worker.start(&mut self.jobs);
        S::work(&self.state, &mut self.jobs);
    }

    /// Like [`Self::run`], without the API: only probes and metrics are served.
    ///
    /// # Errors
    /// As there.
    pub async fn run_worker(self, listener: TcpListener) -> anyhow::Result<()> {
        let probes = self.base.probes(self.readiness.clone());
        self.serve_app(listener, |_| probes).await
    }

    /// Serves until `base.shutdown` is canceled. Then follow the drain, and
    /// `server.shutdown_grace_seconds` for all of the rest: requests in flight, detached work, what
    /// the service does last, and running jobs.
    ///
    /// # Errors
    /// When requests were cut off at the end of the grace period, or an essential job failed.
    pub async fn run(self, listener: TcpListener) -> anyhow::Result<()> {
        self.serve_app(listener, |app| app).await
    }

    /// Like [`Self::run`], with a layer around all routes.
    ///
    /// # Errors
    /// As there.
    pub async fn serve(
        self,
        listener: TcpListener,
        wrap: impl FnOnce(Router) -> Router,
    ) -> anyhow::Result<()> {
        self.serve_app(listener, |app| wrap(app.into_router()).into())
            .await
    }

    async fn serve_app(
        self,
        listener: TcpListener,
        wrap: impl FnOnce(App) -> App,
    ) -> anyhow::Result<()> {
        let Self {
            base,
            state,
            readiness,
            jobs,
            worker: _worker,
        } = self;
        let app = wrap(base.app::<S>(state.clone(), readiness.clone()));
        let shutdown = base.shutdown.clone();
        let transport = ServiceTransport(base.tls.clone());
        let served = serve_over(transport, listener, app, &base.server, &readiness, shutdown);
        let (served, until) = tokio::join!(served, deadline(&base));
        let until = until.max(Instant::now() + LAST_GRACE);
        base.detached.close();
        if timeout_at(until, base.detached.wait()).await.is_err() {
            tracing::warn!("detached work was cut off at shutdown");
        }
        if timeout_at(until, S::stop(&state)).await.is_err() {
            tracing::warn!("the service did not stop within the grace period");
        }
        jobs.stop(until - Instant::now()).await?;
        base.db.close().await;
        base.queue_db.close().await;
        Ok(served?)
    }
}
