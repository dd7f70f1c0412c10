//! One running service, from its settings to an orderly stop.

use std::time::Duration;

use axum::Router;
use quartet_db::STANDBY_CHECK;
use quartet_http::{front::App, health::Readiness, serve::serve};
use quartet_jobs::{Job, Runner};
use tokio::net::TcpListener;

use crate::{base::Base, service::Service};

/// A replica that has not served yet. Dropping it cancels its jobs.
pub struct Replica<S: Service> {
    pub base: Base,
    pub state: S::State,
    readiness: Readiness,
    jobs: Runner,
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
        Ok(Self {
            base,
            state,
            readiness,
            jobs,
        })
    }

    /// Prepares what requests depend on, and starts the jobs.
    ///
    /// # Errors
    /// When the preparation fails, for instance because the database does not respond.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        self.base.verifier.prefetch();
        let reads = self.base.reads.clone();
        if reads.has_standby() {
            let check = move |_| {
                let reads = reads.clone();
                async move { reads.check().await }
            };
            let job = Job::periodic("standby", STANDBY_CHECK, check);
            self.jobs.start(job.immediately().cancel_at_stop());
        }
        S::start(&self.state, &mut self.jobs).await
    }

    /// Serves until `base.shutdown` is canceled. Then requests in flight, what the service does
    /// last, and running jobs have `server.shutdown_grace_seconds` each.
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
        } = self;
        let app = wrap(base.app::<S>(state.clone(), readiness.clone()));
        let shutdown = base.shutdown.clone();
        let served = serve(listener, app, &base.server, &readiness, shutdown).await;
        let grace = Duration::from_secs(base.server.shutdown_grace_seconds.max(1));
        base.running.close();
        if tokio::time::timeout(grace, base.running.wait())
            .await
            .is_err()
        {
            tracing::warn!("requests with idempotency keys were cut off at shutdown");
        }
        if tokio::time::timeout(grace, S::stop(&state)).await.is_err() {
            tracing::warn!("the service did not stop within the grace period");
        }
        jobs.stop(grace).await?;
        base.db.close().await;
        Ok(served?)
    }
}
