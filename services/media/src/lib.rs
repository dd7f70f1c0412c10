//! The media service: a client asks for a signed address, puts its file there itself, and the
//! file counts once it has been verified to be what was promised.

mod api;
mod auth;
mod config;
mod domain;
mod error;
mod jobs;
mod metrics;
mod objects;
mod state;
mod store;

use axum::Router;
use quartet_common::problem::kinds::render_markdown;
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

/// The schema's migrations.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../db/schemas/media");

/// The service as the command line runs it.
#[derive(Debug)]
pub struct Media;

/// Every route behind the layer stack, and the probes beside it.
pub fn app(state: AppState, metrics: Metrics, readiness: Readiness) -> Router {
    let server = state.config().server.clone();
    let stack = Stack::new(state.clock().clone(), metrics.clone(), &server);
    standard(api::router(state), stack, &server).merge(health::router(readiness, metrics))
}

impl Service for Media {
    const NAME: &'static str = "media";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const DEFAULTS: &'static str = include_str!("../default.toml");
    type Config = Config;

    fn openapi() -> String {
        api::openapi()
    }

    fn problems() -> String {
        render_markdown(error::kinds::ALL)
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
        state.prepare_buckets().await?;
        let readiness = state.readiness();
        let sweep = jobs::start(state.clone(), shutdown.clone());
        let router = app(state, metrics, readiness.clone());
        let served = serve(listener, router, &server, &readiness, shutdown).await;
        sweep.await?;
        pool.close().await;
        Ok(served?)
    }
}

/// Removes objects whose time has come, once; the job does this again and again.
///
/// # Errors
/// When the database does not answer.
pub async fn sweep_once(state: &AppState) -> anyhow::Result<u64> {
    Ok(jobs::sweep::run(state).await?)
}
