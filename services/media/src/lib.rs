//! quartet-media: uploads straight to an object store by signed URLs, and the assets they become.
//!
//! A request passes `api`, `domain` and `store`, in this order and never back.

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

use axum::Router;
use quartet_common::cli;
use quartet_db as db;
use quartet_http::{
    health::{self, Readiness},
    layers::{Stack, standard},
    serve::serve,
};
use quartet_service::{Runtime, Service};
use quartet_telemetry::metrics::Metrics;
use sqlx::migrate::Migrator;

pub use config::Config;
pub use state::AppState;

/// The migrations of the schema `media`.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../db/schemas/media");

/// What the command line runs.
#[derive(Debug)]
pub struct Service;

/// All routes behind the layer stack, and the probes beside it.
pub fn app(state: AppState, metrics: Metrics, readiness: Readiness) -> Router {
    let server = state.ctx.config.server.clone();
    let stack = Stack::new(state.ctx.clock.clone(), metrics.clone(), &server);
    standard(api::router(state), stack, &server).merge(health::router(readiness, metrics))
}

impl cli::Service for Service {
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
        if state.ctx.config.s3.create_buckets {
            state.ctx.objects.create_buckets().await?;
        }
        let readiness = state.readiness();
        let sweep = jobs::start(state.ctx.clone(), shutdown.clone());
        let router = app(state, metrics, readiness.clone());
        let served = serve(listener, router, &server, &readiness, shutdown).await;
        sweep.await?;
        pool.close().await;
        Ok(served?)
    }
}

/// Runs the sweep once. Returns the number of assets it removed.
///
/// # Errors
/// When the database does not answer.
pub async fn sweep_once(state: &AppState) -> anyhow::Result<u64> {
    Ok(jobs::sweep::run(&state.ctx).await?)
}
