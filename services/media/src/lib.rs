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

use axum::Router;
use quartet_common::{config::ConfigError, problem::Kind};
use quartet_http::health::Readiness;
use quartet_jobs::Runner;
use quartet_service::{Base, NoCommand};
use quartet_worker::Tasks;
use sqlx::migrate::Migrator;
use utoipa::openapi::OpenApi;

pub use config::Config;
pub use state::AppState;

/// The migrations of the schema `media`.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../db/schemas/media");

/// The service as the command line runs it.
#[derive(Debug)]
pub struct Service;

impl quartet_service::Service for Service {
    const NAME: &'static str = "media";
    const ABOUT: &'static str =
        "The media service of Quartet: uploads to an object store, and the assets that result.";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const DEFAULTS: &'static str = include_str!("../default.toml");
    const DOCUMENT: &'static str = include_str!("../openapi.json");
    const MIGRATOR: &'static Migrator = &MIGRATOR;
    const RECEIVES: bool = true;
    const ROTATED: &'static [&'static str] = &["s3.access_key", "s3.secret_key"];

    type Config = Config;
    type State = AppState;
    type Command = NoCommand;

    fn describe() -> OpenApi {
        api::describe()
    }

    fn kinds() -> &'static [&'static Kind] {
        problems::ALL
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
        if let Some(nats) = &state.nats {
            state.inbox.start(nats, Self::NAME, runner);
        }
    }

    fn rotate(state: &AppState, config: &Config) {
        state.ctx.objects.rotate(&config.s3);
    }

    fn run(
        command: NoCommand,
        _load: impl Fn() -> Result<Config, ConfigError>,
    ) -> anyhow::Result<()> {
        match command {}
    }
}
