//! quartet-links: short links by GraphQL, redirects, and clicks that are counted once.
//!
//! Rooms, in the order in which a request meets them: `api` and `graphql` (two doors to the
//! same functions), `domain` (rules), `store` (SQL). `wal` keeps clicks on disk until `jobs`
//! have brought them into the database.

mod api;
mod app;
mod config;
mod domain;
mod error;
mod graphql;
mod jobs;
mod metrics;
mod state;
mod store;
mod wal;

use quartet_common::{
    config::ConfigError,
    problem::kinds::{render_graphql_markdown, render_markdown},
};
use quartet_service::{Runtime, Service};
use sqlx::migrate::Migrator;

pub use app::App;
pub use config::{Config, FsyncMode, WhenLogIsFull};

/// The migrations of the schema `links`.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../db/schemas/links");

/// The embedded defaults: the reference of all settings.
pub const DEFAULTS: &str = include_str!("../default.toml");

/// The service as the command line runs it.
#[derive(Debug)]
pub struct LinksService;

impl Service for LinksService {
    const NAME: &'static str = "links";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const DEFAULTS: &'static str = DEFAULTS;
    type Config = Config;

    fn openapi() -> String {
        api::openapi()
    }

    fn problems() -> String {
        let own = render_markdown(error::kinds::ALL);
        let graphql = render_graphql_markdown(error::kinds::graphql::ALL);
        format!(
            "{own}\nErrors of GraphQL have these codes in `extensions.code`, or those of problems in capitals:\n\n{graphql}"
        )
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
        App::start(config, clock, metrics, shutdown)
            .await?
            .serve(listener)
            .await
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
