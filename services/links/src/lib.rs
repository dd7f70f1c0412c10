//! The links service: short links managed with GraphQL, redirects, and clicks counted exactly once.
//!
//! `api` and `graphql` are two doors to the operations in `domain`; `store` holds the SQL. `wal` keeps
//! clicks on disk until `jobs` have stored them in Postgres.

mod api;
mod config;
mod domain;
mod error;
mod graphql;
mod jobs;
mod metrics;
mod problems;
mod state;
mod store;
mod wal;

use std::time::Duration;

use axum::Router;
use quartet_common::{
    config::ConfigError,
    problem::kinds::{render_graphql_markdown, render_markdown},
};
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

/// The migrations of the schema `links`.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../db/schemas/links");

/// The service as the command line runs it.
#[derive(Debug)]
pub struct Service;

/// Every route behind the layer stack, and the probes beside it.
pub fn app(state: AppState, metrics: Metrics, readiness: Readiness) -> Router {
    let server = state.ctx.config.server.clone();
    let stack = Stack::new(state.ctx.clock.clone(), metrics.clone(), &server);
    standard(api::router(state), stack, &server).merge(health::router(readiness, metrics))
}

/// Runs a replica until shutdown, then stores what is left in its click log. Clicks that cannot be
/// stored within the grace period stay in the log, which another replica recovers. `wrap` may put a
/// layer around all routes.
///
/// # Errors
/// When the replica cannot start, or requests were cut off at the end of the grace period.
pub async fn run(
    config: Config,
    runtime: Runtime,
    wrap: impl FnOnce(Router) -> Router,
) -> anyhow::Result<()> {
    let Runtime {
        listener,
        clock,
        metrics,
        shutdown,
    } = runtime;
    let server = config.server.clone();
    let pool = db::pool(&config.database, "quartet-links")?;
    let state = AppState::new(config, pool.clone(), clock, &metrics, shutdown.clone())?;
    let mut jobs = Runner::new(&metrics, state.ctx.clock.clone(), shutdown.clone());
    jobs::start(&state.ctx, &mut jobs).await?;
    let click_log = state.ctx.click_log.clone();
    let readiness = state.readiness();
    let router = wrap(app(state, metrics, readiness.clone()));
    let served = serve(listener, router, &server, &readiness, shutdown).await;
    let grace = Duration::from_secs(server.shutdown_grace_seconds.max(1));
    click_log.wal().close().await;
    jobs.stop(grace).await?;
    pool.close().await;
    Ok(served?)
}

impl quartet_service::Service for Service {
    const NAME: &'static str = "links";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const DEFAULTS: &'static str = include_str!("../default.toml");
    type Config = Config;

    fn openapi() -> String {
        api::openapi()
    }

    fn problems() -> String {
        let own = render_markdown(problems::ALL);
        let graphql = render_graphql_markdown(problems::graphql::ALL);
        format!(
            "{own}\nGraphQL errors carry these codes in `extensions.code`, or the code of a problem in upper case:\n\n{graphql}"
        )
    }

    fn migrator() -> &'static Migrator {
        &MIGRATOR
    }

    async fn serve(config: Config, runtime: Runtime) -> anyhow::Result<()> {
        run(config, runtime, |router| router).await
    }

    /// `graphql-schema` prints the GraphQL schema.
    fn other(
        words: &[String],
        _: &dyn Fn() -> Result<Config, ConfigError>,
    ) -> Option<anyhow::Result<()>> {
        let [word] = words else { return None };
        (word == "graphql-schema").then(|| {
            use std::io::Write as _;
            Ok(std::io::stdout().write_all(graphql::sdl().as_bytes())?)
        })
    }
}
