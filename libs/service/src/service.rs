//! What differs between services.

use std::{future::Future, sync::Arc};

use axum::Router;
use clap::Subcommand;
use quartet_auth::jwt::JwtVerifier;
use quartet_common::{
    clock::Clock,
    config::{ConfigError, Database, Jwt, Server, Telemetry, Worker, all},
    problem::{Kind, kinds::render_markdown},
};
use quartet_http::{front::Front, health::Readiness, tls::ServiceTls};
use quartet_jobs::Runner;
use quartet_worker::Tasks;
use serde::de::DeserializeOwned;
use sqlx::migrate::Migrator;
use utoipa::openapi::OpenApi;

use crate::base::Base;

/// A service as [`main`](crate::main) runs it.
pub trait Service: 'static {
    /// `core`, `media` or `links`: names the binary `quartet-NAME`, the schema and the routes
    /// `/v1/NAME/...`.
    const NAME: &'static str;
    /// What the service is, in a sentence for `--help`.
    const ABOUT: &'static str;
    /// `env!("CARGO_PKG_VERSION")` of the service's crate.
    const VERSION: &'static str;
    /// The service's own commented defaults, which may override the shared ones.
    const DEFAULTS: &'static str;
    /// The committed OpenAPI document: `include_str!("../openapi.json")`.
    const DOCUMENT: &'static str;
    const MIGRATOR: &'static Migrator;
    /// Whether a replica does its main job while Postgres is away. Its readiness then only says so.
    const WORKS_WITHOUT_DATABASE: bool = false;
    /// Whether a replica without the keys that verify tokens is not ready. If not, `/ready` only
    /// mentions that they are missing.
    const KEYS_REQUIRED: bool = true;
    /// Whether the schema has an outbox.
    const PUBLISHES: bool = false;
    /// Whether the schema has an inbox.
    const RECEIVES: bool = false;
    /// Settings that [`Self::rotate`] puts in force while the process runs, beside the URLs of
    /// databases.
    const ROTATED: &'static [&'static str] = &[];

    type Config: DeserializeOwned + Settings + Send + 'static;
    /// Cheap to clone; clones share everything.
    type State: Clone + Send + Sync + 'static;
    /// The service's own subcommands, or [`NoCommand`].
    type Command: Subcommand;

    /// The operations as utoipa describes them. `cargo xtask gen` makes [`Self::DOCUMENT`] of it.
    fn describe() -> OpenApi;

    /// The kinds of problems that only this service returns.
    fn kinds() -> &'static [&'static Kind];

    /// The reference of [`Self::kinds`] in Markdown.
    fn problems() -> String {
        render_markdown(Self::kinds())
    }

    /// # Errors
    /// When a setting is invalid.
    fn verifier(config: &Self::Config, clock: &Clock) -> Result<JwtVerifier, ConfigError> {
        JwtVerifier::new(config.sections().jwt, clock.clone())
    }

    /// # Errors
    /// When a setting is invalid or a resource on this machine is not available.
    fn state(config: Self::Config, base: Base) -> anyhow::Result<Self::State>;

    /// All routes of the service, without layers and probes.
    fn routes(state: Self::State) -> Router;

    /// Answers some requests in front of the router, in the same way as it does.
    fn front(_state: &Self::State) -> Option<Arc<dyn Front>> {
        None
    }

    /// Adds the dependencies beside the database.
    fn readiness(_state: &Self::State, readiness: Readiness) -> Readiness {
        readiness
    }

    /// Prepares what requests depend on, then starts the jobs.
    fn start(
        state: &Self::State,
        jobs: &mut Runner,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// The kinds of durable jobs.
    fn tasks(state: &Self::State) -> Tasks<Self::State>;

    /// Starts the jobs that need no requests beside them: those of every process that works on durable
    /// jobs.
    fn work(_state: &Self::State, _jobs: &mut Runner) {}

    /// Called after the last request and before the jobs are stopped.
    fn stop(_state: &Self::State) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Takes the settings named in [`Self::ROTATED`] from a configuration with changed secrets.
    fn rotate(_state: &Self::State, _config: &Self::Config) {}

    /// Runs one of the service's own subcommands. `load` reads the settings.
    ///
    /// # Errors
    /// When the command fails; the error goes to stderr.
    fn run(
        command: Self::Command,
        load: impl Fn() -> Result<Self::Config, ConfigError>,
    ) -> anyhow::Result<()>;
}

// A doc comment would become the text of --help.
// For services without subcommands of their own: `match command {}`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum NoCommand {}

/// The settings of a service.
pub trait Settings {
    /// The sections that all services share.
    fn sections(&self) -> Sections<'_>;

    /// Rules for the service's own sections that types alone do not express.
    ///
    /// # Errors
    /// Every setting that breaks one.
    fn check(&self) -> Result<(), ConfigError>;

    /// Rules that only a process with an API has to follow.
    ///
    /// # Errors
    /// Every setting that breaks one.
    fn check_serving(&self) -> Result<(), ConfigError> {
        Ok(())
    }
}

/// The sections of the settings that all services share.
#[derive(Clone, Copy, Debug)]
pub struct Sections<'a> {
    pub server: &'a Server,
    pub database: &'a Database,
    pub jwt: &'a Jwt,
    pub worker: &'a Worker,
    pub telemetry: &'a Telemetry,
}

/// [`Settings::sections`] of a struct whose fields have the names of the sections.
#[macro_export]
macro_rules! shared_sections {
    () => {
        fn sections(&self) -> $crate::Sections<'_> {
            $crate::Sections {
                server: &self.server,
                database: &self.database,
                jwt: &self.jwt,
                worker: &self.worker,
                telemetry: &self.telemetry,
            }
        }
    };
}

impl Sections<'_> {
    pub(crate) fn check(self) -> Result<(), ConfigError> {
        all([
            self.server.check(),
            ServiceTls::open(self.server).map(drop),
            self.database.check(),
            self.jwt.check(),
            self.worker.check(),
            self.telemetry.check(),
            quartet_telemetry::check_filter(&self.telemetry.log),
        ])
    }
}

/// [`check`], and what only `serve` requires.
///
/// # Errors
/// Every setting that breaks a rule.
pub fn check_serving(config: &impl Settings) -> Result<(), ConfigError> {
    all([check(config), config.check_serving()])
}

/// Every rule that types alone do not express.
///
/// # Errors
/// Every setting that breaks one.
pub fn check(config: &impl Settings) -> Result<(), ConfigError> {
    all([config.sections().check(), config.check()])
}
