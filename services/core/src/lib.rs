//! quartet-core: users, their sessions, and the keys that sign their access tokens.

mod api;
mod auth;
mod config;
mod domain;
mod error;
mod jobs;
mod metrics;
mod state;
mod store;

use axum::Router;
use quartet_common::{clock::Clock, config::ConfigError, problem::kinds::render_markdown};
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

/// The migrations of the schema `core`.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../db/schemas/core");

/// The service as the command line runs it.
#[derive(Debug)]
pub struct Core;

/// Every route behind the layer stack, and the probes beside it.
pub fn app(state: AppState, metrics: Metrics, readiness: Readiness) -> Router {
    let server = state.config.server.clone();
    let stack = Stack::new(state.clock.clone(), metrics.clone(), &server);
    standard(api::router(state), stack, &server).merge(health::router(readiness, metrics))
}

impl Service for Core {
    const NAME: &'static str = "core";
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
        let pool = db::pool(&config.database, "quartet-core")?;
        let state = AppState::new(config, pool.clone(), clock, &metrics)?;
        state.keys.maintain(&pool).await?;
        let readiness = Readiness::new().check("database", {
            let pool = pool.clone();
            move || quartet_db::ping(pool.clone())
        });
        let jobs = jobs::start(&state, &shutdown);
        let router = app(state, metrics, readiness.clone());
        let served = serve(listener, router, &server, &readiness, shutdown).await;
        for job in jobs {
            job.await?;
        }
        pool.close().await;
        Ok(served?)
    }

    /// `rotate-keys` makes a new signing key that takes over after the publishing time;
    /// `rotate-keys --now` makes one that signs at once and drops all others.
    fn other(
        words: &[String],
        config: &dyn Fn() -> Result<Config, ConfigError>,
    ) -> Option<anyhow::Result<()>> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let now = match words.as_slice() {
            ["rotate-keys"] => false,
            ["rotate-keys", "--now"] => true,
            _ => return None,
        };
        Some(
            config()
                .map_err(Into::into)
                .and_then(|config| rotate_keys(config, now)),
        )
    }
}

fn rotate_keys(config: Config, now: bool) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let pool = db::pool(&config.database, "quartet-core")?;
        db::ensure_current(&MIGRATOR, &pool, Core::NAME).await?;
        let state = AppState::new(config, pool.clone(), Clock::system(), &Metrics::new("core"))?;
        let made = state.keys.rotate(&pool, now).await?;
        eprintln!(
            "signing key {} takes over at {}",
            made.kid,
            made.activates_at.to_rfc3339()
        );
        Ok(())
    })
}

/// What the jobs do, once.
///
/// # Errors
/// When the database does not answer.
pub async fn run_jobs_once(state: &AppState) -> anyhow::Result<()> {
    state.keys.maintain(&state.pool).await?;
    jobs::purge(state).await?;
    Ok(())
}
