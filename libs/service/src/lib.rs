//! The command line of every service: `serve | migrate | openapi | config | healthcheck`.

pub mod idempotency;

use std::{fmt, future::Future, io::Write, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use quartet_common::{
    cli::{OpenapiVersion, exit, healthcheck},
    clock::Clock,
    config::{self, COMMON_DEFAULTS, ConfigError, Database, Server, Telemetry},
};
use quartet_db as db;
use quartet_http::serve::shutdown_signal;
use quartet_telemetry::{self as telemetry, metrics::Metrics};
use serde::de::DeserializeOwned;
use sqlx::migrate::Migrator;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What differs between services.
pub trait Service {
    /// `core`, `media`, `links`: names the binary `quartet-NAME` and the schema.
    const NAME: &'static str;
    /// The service's own version: `env!("CARGO_PKG_VERSION")` in its crate.
    const VERSION: &'static str;
    /// The service's own commented defaults; they may override the common ones.
    const DEFAULTS: &'static str;
    type Config: DeserializeOwned + Settings + Send + 'static;

    /// The OpenAPI document as pretty JSON with a final newline.
    fn openapi() -> String;
    /// The kinds of problems that only this service has, as Markdown.
    fn problems() -> String;
    fn migrator() -> &'static Migrator;
    /// Serves until `runtime.shutdown` is cancelled, then finishes what is in flight.
    fn serve(
        config: Self::Config,
        runtime: Runtime,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
    /// Subcommands of the service's own: `Some` when the words were one of them.
    fn other(
        _words: &[String],
        _config: &dyn Fn() -> Result<Self::Config, ConfigError>,
    ) -> Option<anyhow::Result<()>> {
        None
    }
}

/// The sections that every service's settings have.
pub trait Settings {
    fn server(&self) -> &Server;
    fn database(&self) -> &Database;
    fn telemetry(&self) -> &Telemetry;
    /// Rules that a type alone cannot hold.
    ///
    /// # Errors
    /// The first setting that breaks one.
    fn check(&self) -> Result<(), ConfigError>;
}

/// What the command line hands to a service.
#[derive(Debug)]
pub struct Runtime {
    pub listener: TcpListener,
    pub clock: Clock,
    pub metrics: Metrics,
    pub shutdown: CancellationToken,
}

#[derive(Parser)]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
struct Arguments {
    /// TOML file with settings; the variable `QUARTET_CONFIG` names one too.
    #[arg(long, short, global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer requests until SIGTERM.
    Serve,
    /// Bring the service's schema up to date and exit.
    Migrate,
    /// Print the OpenAPI document.
    Openapi {
        /// Version of OpenAPI to write it in; 3.0 is a copy for tools that need it.
        #[arg(long, default_value = "3.1")]
        version: OpenapiVersion,
    },
    /// Print the kinds of problems that only this service has, as Markdown.
    Problems,
    /// Print every setting as a Markdown table.
    Config,
    /// Exit 0 when the service on this machine answers, for container health checks.
    Healthcheck {
        /// Ask whether it could do its work: what it depends on must answer as well.
        #[arg(long)]
        ready: bool,
    },
    #[command(external_subcommand)]
    Other(Vec<String>),
}

/// Runs the command that the arguments name.
pub fn main<S: Service>() -> ExitCode {
    use clap::{CommandFactory, FromArgMatches};
    let name = format!("quartet-{}", S::NAME);
    let matches = Arguments::command()
        .name(name.clone())
        .bin_name(name.clone())
        .version(S::VERSION)
        .after_long_help(config::render_help(&[COMMON_DEFAULTS, S::DEFAULTS]))
        .after_help("`--help` lists every setting.")
        .get_matches();
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    exit(&name, run::<S>(arguments))
}

fn run<S: Service>(arguments: Arguments) -> anyhow::Result<()> {
    let file = arguments
        .config
        .or_else(|| std::env::var_os("QUARTET_CONFIG").map(Into::into));
    let load = || {
        config::load::<S::Config>(
            &[COMMON_DEFAULTS, S::DEFAULTS],
            file.as_deref(),
            std::env::vars(),
        )
    };
    match arguments.command {
        Command::Serve => serve::<S>(load()?),
        Command::Migrate => {
            let config = load()?;
            let _telemetry = telemetry::init(S::NAME, S::VERSION, config.telemetry())?;
            let work = db::migrate(S::migrator(), config.database(), S::NAME);
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(work)?;
            tracing::info!("the schema is up to date");
            Ok(())
        }
        Command::Openapi { version } => print(quartet_openapi::in_version(S::openapi(), version)),
        Command::Problems => print(S::problems()),
        Command::Config => print(config::render_markdown(&[COMMON_DEFAULTS, S::DEFAULTS])),
        Command::Healthcheck { ready } => {
            let path = if ready { "/ready" } else { "/health" };
            healthcheck(load()?.server().listen, path)
        }
        Command::Other(words) => S::other(&words, &load).unwrap_or_else(|| {
            Err(anyhow::anyhow!(
                "there is no command `{}`; see --help",
                words.join(" ")
            ))
        }),
    }
}

fn print(text: impl fmt::Display) -> anyhow::Result<()> {
    Ok(write!(std::io::stdout(), "{text}")?)
}

fn serve<S: Service>(config: S::Config) -> anyhow::Result<()> {
    config.check()?;
    let telemetry = telemetry::init(S::NAME, S::VERSION, config.telemetry())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let shutdown = shutdown_signal();
        let address = config.server().listen;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| anyhow::anyhow!("{address} cannot be listened on: {error}"))?;
        let pool = db::pool(config.database(), &format!("quartet-{}", S::NAME))?;
        if let Err(error) = db::ensure_current(S::migrator(), &pool, S::NAME).await {
            return Err(db::explain(error, config.database()).await.into());
        }
        pool.close().await;
        tracing::info!(address = %listener.local_addr()?, version = S::VERSION, "listening");
        let metrics = Metrics::new(S::NAME);
        S::serve(
            config,
            Runtime {
                listener,
                clock: Clock::system(),
                metrics,
                shutdown,
            },
        )
        .await
    });
    if result.is_ok() {
        tracing::info!("stopped");
    }
    // Blocking work, such as password hashing, must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_secs(1));
    drop(telemetry);
    result
}
