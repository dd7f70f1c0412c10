//! The links service: short links managed with GraphQL, redirects, and clicks counted exactly once.
//!
//! `api` and `graphql` are two entry points to the operations in `domain`; `store` holds the SQL.
//! `wal` keeps clicks on disk until `jobs` have stored them in Postgres.

mod api;
mod auth;
mod command;
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
mod web;

use std::sync::Arc;

use axum::Router;
use quartet_common::{config::ConfigError, problem::Kind};
use quartet_http::{front::Front, health::Readiness};
use quartet_jobs::Runner;
use quartet_service::Base;
use quartet_worker::Tasks;
use sqlx::migrate::Migrator;
use utoipa::openapi::OpenApi;

pub use command::Command;
pub use config::Config;
pub use state::AppState;

/// The migrations of the schema `links`.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../db/schemas/links");

/// The service as the command line runs it.
#[derive(Debug)]
pub struct Service;

impl quartet_service::Service for Service {
    const NAME: &'static str = "links";
    const ABOUT: &'static str =
        "The links service of Quartet: short links over GraphQL, redirects, and click counts.";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const DEFAULTS: &'static str = include_str!("../default.toml");
    const DOCUMENT: &'static str = include_str!("../openapi.json");
    const MIGRATOR: &'static Migrator = &MIGRATOR;
    const RECEIVES: bool = true;
    const WORKS_WITHOUT_DATABASE: bool = true;
    /// Redirects need none.
    const KEYS_REQUIRED: bool = false;

    type Config = Config;
    type State = AppState;
    type Command = Command;

    fn describe() -> OpenApi {
        api::describe()
    }

    fn kinds() -> &'static [&'static Kind] {
        problems::ALL
    }

    fn problems() -> String {
        problems::render_markdown()
    }

    fn state(config: Config, base: Base) -> anyhow::Result<AppState> {
        AppState::new(config, base)
    }

    fn routes(state: AppState) -> Router {
        api::router(state)
    }

    fn front(state: &AppState) -> Option<Arc<dyn Front>> {
        Some(api::front(state))
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
        if let Some(nats) = &state.nats {
            state.inbox.start(nats, Self::NAME, runner);
        }
    }

    /// Closes the click log. What is in it then is stored by the job `flush`; clicks that cannot be
    /// stored within the grace period stay in the log, which another replica recovers.
    async fn stop(state: &AppState) {
        state.ctx.click_log.wal().close().await;
    }

    fn run(
        command: Command,
        _load: impl Fn() -> Result<Config, ConfigError>,
    ) -> anyhow::Result<()> {
        command.run()
    }
}
