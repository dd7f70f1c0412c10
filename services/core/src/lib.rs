//! The core service: users, their sessions, and the keys that sign their access tokens.
//!
//! A request passes `api`, `domain` and `store`, in this order and never back. `jobs` run beside
//! requests.

mod api;
mod auth;
mod command;
mod config;
mod domain;
mod error;
mod jobs;
mod metrics;
mod problems;
mod state;
mod store;

use axum::Router;
use quartet_auth::jwt::JwtVerifier;
use quartet_common::{clock::Clock, config::ConfigError, problem::Kind};
use quartet_http::health::Readiness;
use quartet_jobs::Runner;
use quartet_service::{Base, with_base};
use quartet_worker::Tasks;
use sqlx::migrate::Migrator;
use utoipa::openapi::OpenApi;

pub use command::Command;
pub use config::{Config, SigningAlgorithm};
pub use state::AppState;

/// The migrations of the schema `core`.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../db/schemas/core");

/// The service as the command line runs it.
#[derive(Debug)]
pub struct Service;

impl quartet_service::Service for Service {
    const NAME: &'static str = "core";
    const ABOUT: &'static str =
        "The core service of Quartet: users, sessions, and the keys that sign access tokens.";
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
        state.readiness(readiness)
    }

    async fn start(state: &AppState, runner: &mut Runner) -> anyhow::Result<()> {
        Ok(jobs::start(state, runner).await?)
    }

    fn tasks(state: &AppState) -> Tasks<AppState> {
        jobs::tasks(state)
    }

    fn work(state: &AppState, runner: &mut Runner) {
        state.ctx.events.start(runner);
    }

    fn run(command: Command, load: impl Fn() -> Result<Config, ConfigError>) -> anyhow::Result<()> {
        with_base::<Self, _>(load()?, async |config, base| {
            command.run(&AppState::new(config, base)?.ctx).await
        })
    }
}
