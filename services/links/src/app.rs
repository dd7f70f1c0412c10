//! The service put together: log, database, jobs, routes.

use std::time::Duration;

use axum::Router;
use quartet_auth::jwt::JwtVerifier;
use quartet_common::{clock::Clock, config::Server};
use quartet_db as db;
use quartet_http::{
    health::{self, Readiness},
    layers::{self, Stack},
    serve::serve,
};
use quartet_telemetry::metrics::Metrics;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    api,
    config::Config,
    domain::clicks::ClickLog,
    jobs::{self, Flusher},
    metrics::LinkMetrics,
    state::{AppState, Parts},
    wal::{Directory, Wal},
};

/// A replica that is ready to serve.
pub struct App {
    state: AppState,
    clock: Clock,
    metrics: Metrics,
    shutdown: CancellationToken,
    directory: Directory,
    flushing: JoinHandle<anyhow::Result<()>>,
    stop_jobs: CancellationToken,
    jobs: Vec<JoinHandle<()>>,
}

impl App {
    /// Opens the log, prepares the database and starts the jobs. `shutdown` ends it all.
    ///
    /// # Errors
    /// When a setting is wrong, the log cannot be written, or the database does not answer.
    pub async fn start(
        config: Config,
        clock: Clock,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        use anyhow::Context as _;
        config.validate()?;
        let verifier = JwtVerifier::new(&config.jwt, clock.clone())?;
        let pool = db::pool(&config.database, "quartet-links")?;
        let root = &config.clicks.log_dir;
        let directory = Directory::create(root, &clock.uuid_v7().to_string())
            .with_context(|| format!("the click log {} cannot be made", root.display()))?;
        let wal = Wal::start(directory.path().to_owned(), config.clicks.wal())
            .with_context(|| format!("the click log {} cannot be written", root.display()))?;
        let log = ClickLog::new(wal.clone(), config.clicks.when_log_is_full);
        let counts = LinkMetrics::default();
        counts.register(&metrics);
        let (rows, wait) = (config.clicks.batch_rows, config.clicks.batch_wait_ms);
        let parts = Parts {
            config,
            clock: clock.clone(),
            verifier,
            pool,
            log,
            metrics: counts.clone(),
            shutdown: shutdown.clone(),
        };
        let state = AppState::new(parts)?;
        state.register(&metrics);
        jobs::maintain(&state, clock.now()).await?;
        let flusher = Flusher {
            wal,
            directory: directory.path().to_owned(),
            batches: state.batches(),
            clock: clock.clone(),
            rows,
            wait: Duration::from_millis(wait),
            metrics: counts,
        };
        let flushing = tokio::spawn(flush(flusher, shutdown.clone()));
        let stop_jobs = CancellationToken::new();
        let jobs = jobs::start(&state, &stop_jobs);
        Ok(Self {
            state,
            clock,
            metrics,
            shutdown,
            directory,
            flushing,
            stop_jobs,
            jobs,
        })
    }

    /// Serves until the token given to [`App::start`] is cancelled, then brings what is in
    /// the log into the database. What does not get there in time stays in the log for the
    /// next replica that looks.
    ///
    /// # Errors
    /// When requests were cut off at the end of the grace time.
    pub async fn serve(self, listener: TcpListener) -> anyhow::Result<()> {
        self.serve_behind(|router| router, listener).await
    }

    /// The same with something between the clients and the routes.
    ///
    /// # Errors
    /// When requests were cut off at the end of the grace time.
    pub async fn serve_behind(
        self,
        door: impl FnOnce(Router) -> Router,
        listener: TcpListener,
    ) -> anyhow::Result<()> {
        let server: Server = self.state.config.server.clone();
        let readiness = self.readiness();
        let router = door(self.router(&server, &readiness));
        let served = serve(listener, router, &server, &readiness, self.shutdown.clone()).await;
        let grace = Duration::from_secs(server.shutdown_grace_seconds.max(1));
        if let Ok(drained) = tokio::time::timeout(grace, self.drain()).await {
            drained?;
        } else {
            tracing::warn!("clicks stay in the log: the database took too long");
        }
        Ok(served?)
    }

    /// Ready while Postgres answers and the last click could be kept. A replica that is not
    /// ready goes on redirecting, as `clicks.when_log_is_full` says.
    fn readiness(&self) -> Readiness {
        let log = self.state.visits.log.clone();
        Readiness::new()
            .check("database", {
                let pool = self.state.links.pool.clone();
                move || quartet_db::ping(pool.clone())
            })
            .check("click_log", move || {
                let failing = log.is_failing();
                async move {
                    if failing {
                        return Err("cannot be written".to_owned());
                    }
                    Ok(())
                }
            })
    }

    fn router(&self, server: &Server, readiness: &Readiness) -> Router {
        let stack = Stack::new(self.clock.clone(), self.metrics.clone(), server);
        layers::standard(api::router(self.state.clone()), stack, server)
            .merge(health::router(readiness.clone(), self.metrics.clone()))
    }

    async fn drain(self) -> anyhow::Result<()> {
        self.state.visits.log.wal.close().await;
        let flushed = self.flushing.await;
        self.stop_jobs.cancel();
        for job in self.jobs {
            // A job that failed has said so.
            let _ = job.await;
        }
        flushed??;
        self.directory.remove()?;
        self.state.links.pool.close().await;
        Ok(())
    }
}

/// Without it clicks would pile up in the log, so the replica stops when it fails.
async fn flush(flusher: Flusher, shutdown: CancellationToken) -> anyhow::Result<()> {
    let stop = shutdown.drop_guard();
    let flushed = flusher.run().await;
    drop(stop);
    flushed.map_err(|error| anyhow::Error::from(error).context("the click log cannot be read"))
}
