//! The core service: users, their sessions, and the keys that sign their access tokens.
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
use quartet_common::{clock::Clock, config::ConfigError, problem::kinds::render_markdown};
use quartet_db as db;
use quartet_http::{
    health::{self, Readiness},
    layers::{Stack, standard},
    serve::serve,
};
use quartet_jobs::Runner;
use quartet_service::{Runtime, Service as _};
use quartet_telemetry::metrics::Metrics;
use sqlx::migrate::Migrator;

pub use config::Config;
pub use state::AppState;

/// The migrations of the schema `core`.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../db/schemas/core");

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
    const NAME: &'static str = "core";
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
        let pool = db::pool(&config.database, "quartet-core")?;
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

    /// `rotate-keys` creates a signing key that becomes active after `keys.publish_ahead_seconds`;
    /// `rotate-keys --now` creates one that is active at once and deletes all others.
    fn other(
        words: &[String],
        config: &dyn Fn() -> Result<Config, ConfigError>,
    ) -> Option<anyhow::Result<()>> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let immediately = match words.as_slice() {
            ["rotate-keys"] => false,
            ["rotate-keys", "--now"] => true,
            _ => return None,
        };
        Some(
            config()
                .map_err(Into::into)
                .and_then(|config| rotate_keys(config, immediately)),
        )
    }
}

fn rotate_keys(config: Config, immediately: bool) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let pool = db::pool(&config.database, "quartet-core")?;
        db::ensure_current(&MIGRATOR, &pool, Service::NAME).await?;
        let metrics = Metrics::new(Service::NAME);
        let state = AppState::new(config, pool.clone(), Clock::system(), &metrics)?;
        let key = state.ctx.keys.rotate(&pool, immediately).await?;
        eprintln!(
            "signing key {} becomes active at {}",
            key.kid,
            key.activates_at.to_rfc3339()
        );
        Ok(())
    })
}
