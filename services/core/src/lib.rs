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

use axum::Router;
use clap::Subcommand;
use quartet_auth::jwt::JwtVerifier;
use quartet_common::{clock::Clock, config::ConfigError, problem::Kind};
use quartet_http::health::Readiness;
use quartet_jobs::Runner;
use quartet_service::{Base, with_base};
use quartet_worker::Tasks;
use sqlx::migrate::Migrator;
use utoipa::openapi::OpenApi;

pub use config::{Config, SigningAlgorithm};
pub use state::AppState;

/// The migrations of the schema `core`.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../db/schemas/core");

/// The service as the command line runs it.
#[derive(Debug)]
pub struct Service;

// A doc comment would become the text of --help.
// The subcommands of this service beside the shared ones.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create signing keys that become active after `keys.publish_ahead_seconds`.
    RotateKeys {
        /// Of one of `keys.algorithms` instead of all of them.
        #[arg(long)]
        algorithm: Option<SigningAlgorithm>,
        /// Activate the keys immediately and delete all others, which invalidates their tokens.
        #[arg(long)]
        now: bool,
    },
    /// Seal stored keys with `keys.master_key`, so that `keys.previous_master_keys` can be removed.
    Reseal,
}

impl quartet_service::Service for Service {
    const NAME: &'static str = "core";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const DEFAULTS: &'static str = include_str!("../default.toml");
    const DOCUMENT: &'static str = include_str!("../openapi.json");
    const MIGRATOR: &'static Migrator = &MIGRATOR;
    const PUBLISHES: bool = true;

    type Config = Config;
    type State = AppState;
    type Command = Command;

    fn describe() -> OpenApi {
        api::describe()
    }

    fn kinds() -> &'static [&'static Kind] {
        problems::ALL
    }

    /// This service verifies tokens with its own keys.
    fn verifier(config: &Config, clock: &Clock) -> Result<JwtVerifier, ConfigError> {
        Ok(JwtVerifier::with_own_keys(&config.jwt, clock.clone()))
    }

    fn state(config: Config, base: Base) -> anyhow::Result<AppState> {
        AppState::new(config, base)
    }

    fn routes(state: AppState) -> Router {
        api::router(state)
    }

    fn readiness(state: &AppState, readiness: Readiness) -> Readiness {
        let (events, keys) = (state.ctx.events.clone(), state.ctx.keys.clone());
        let readiness = readiness.notice("events", move || events.notices());
        readiness.notice("keys", move || keys.notices())
    }

    async fn start(state: &AppState, runner: &mut Runner) -> anyhow::Result<()> {
        Ok(jobs::start(&state.ctx, runner).await?)
    }

    fn tasks(state: &AppState) -> Tasks {
        jobs::tasks(state)
    }

    fn work(state: &AppState, runner: &mut Runner) {
        state.ctx.events.start(runner);
    }

    fn run(command: Command, load: impl Fn() -> Result<Config, ConfigError>) -> anyhow::Result<()> {
        with_base::<Self, _>(load()?, async |config, base| {
            let ctx = AppState::new(config, base)?.ctx;
            match command {
                Command::RotateKeys { algorithm, now } => {
                    let kept = &ctx.config.keys.algorithms;
                    if let Some(other) = algorithm.filter(|one| !kept.contains(one)) {
                        anyhow::bail!("{other} is not one of keys.algorithms");
                    }
                    for key in ctx.keys.rotate(&ctx.db, algorithm, now).await? {
                        let at = key.activates_at.to_rfc3339();
                        let (kid, algorithm) = (key.kid, key.algorithm);
                        eprintln!("signing key {kid} ({algorithm}) becomes active at {at}");
                    }
                }
                Command::Reseal => {
                    let (count, unusable) = ctx.keys.reseal(&ctx.db).await?;
                    eprintln!("{count} keys sealed with the current master key");
                    for key in &unusable {
                        eprintln!("{key}");
                    }
                    anyhow::ensure!(unusable.is_empty(), "{} keys not sealed", unusable.len());
                }
            }
            Ok(())
        })
    }
}
