//! The media service: uploads straight to an object store through signed URLs, and the assets they
//! become.
//!
//! A request passes `api`, `domain` and `store`, in this order and never back. `jobs` run beside
//! requests.

mod api;
mod auth;
mod config;
mod domain;
mod error;
mod jobs;
mod metrics;
mod problems;
mod state;
mod store;

use std::time::Duration;

use axum::Router;
use quartet_common::problem::kinds::render_markdown;
use quartet_db as db;
use quartet_http::{
    health::{self, Readiness},
    layers::{Stack, standard},
    serve::serve,
};
use quartet_jobs::Runner;
use quartet_service::Runtime;
use quartet_telemetry::metrics::Metrics;
use sqlx::migrate::Migrator;

pub use config::Config;
pub use state::AppState;

/// The migrations of the schema `media`.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../db/schemas/media");

/// The service as the command line runs it.
#[derive(Debug)]
pub struct Service;

/// Every route behind the layer stack, and the probes beside it.
pub fn app(state: AppState, metrics: Metrics, readiness: Readiness) -> Router {
    let server = state.ctx.config.server.clone();
    let stack = Stack::new(state.ctx.clock.clone(), metrics.clone(), &server);
    standard(api::router(state), stack, &server).merge(health::router(readiness, metrics))
}

impl quartet_service::Service for Service {
    const NAME: &'static str = "media";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const DEFAULTS: &'static str = include_str!("../default.toml");
    type Config = Config;

    fn openapi() -> String {
        api::openapi()
    }

    fn problems() -> String {
        render_markdown(problems::ALL)
    }

    fn migrator() -> &'static Migrator {
        &MIGRATOR
    }

    async fn serve(config: Config, runtime: Runtime) -> anyhow::Result<()> {
        let Runtime {
            listener,
            clock,
            metrics,
            shutdown,
        } = runtime;
        let server = config.server.clone();
        let pool = db::pool(&config.database, "quartet-media")?;
        let state = AppState::new(config, pool.clone(), clock, &metrics)?;
        let mut jobs = Runner::new(&metrics, state.ctx.clock.clone(), shutdown.clone());
        jobs::start(&state.ctx, &mut jobs).await?;
        let readiness = state.readiness();
        let router = app(state, metrics, readiness.clone());
        let served = serve(listener, router, &server, &readiness, shutdown).await;
        jobs.stop(Duration::from_secs(server.shutdown_grace_seconds.max(1)))
            .await?;
        pool.close().await;
        Ok(served?)
    }
}
