//! The command line of the axum services.

use std::{future::Future, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use quartet_common::{
    cli::{HEALTHCHECK_TIMEOUT, OpenapiVersion, catch_hangup, exit, healthcheck, loopback, print},
    clock::Clock,
    config::{
        self, COMMON_DEFAULTS, ConfigError, Database, LoadedConfig, Settings as Values, Sources,
        all,
    },
    openapi::in_version,
};
use quartet_db::{Databases, SchemaError};
use quartet_http::serve::shutdown_signal;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{
    base::Base,
    dead_letters,
    replica::Replica,
    secrets::{Rotation, is_reloaded},
    service::{Service, Settings, check, check_serving},
};

/// Polling interval for a database that is awaited.
const WAIT_PAUSE: Duration = Duration::from_secs(1);

#[derive(Parser)]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
struct Arguments<C: Subcommand> {
    /// TOML file with settings. Defaults to the file that `QUARTET_CONFIG` names, if any.
    #[arg(long, short, global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command<C>,
}

#[derive(Subcommand)]
enum Command<C: Subcommand> {
    /// Serve requests until SIGTERM.
    Serve(Waiting),
    /// Work on durable jobs and events until SIGTERM. Serves only probes and metrics.
    Worker(Waiting),
    /// Validate the configuration; report every error with line and column.
    Check,
    /// Print durable jobs and events that have failed for good, or have them tried again.
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Apply pending migrations to the schema of the service, then exit.
    Migrate,
    /// Print the OpenAPI document.
    Openapi {
        /// OpenAPI version of the output.
        #[arg(long, default_value = "3.1")]
        version: OpenapiVersion,
    },
    /// Print the kinds of problems of this service as a Markdown table.
    Problems,
    /// Print all settings as a Markdown table.
    Config,
    /// Exit with 0 if the service on this machine responds. For container health checks.
    Healthcheck {
        /// Require that the dependencies of the service respond, too.
        #[arg(long)]
        ready: bool,
    },
    #[command(flatten)]
    Own(C),
}

#[derive(clap::Args)]
struct Waiting {
    /// Wait for the database to respond and for its migrations to be applied, 300 seconds unless
    /// another number is given. At most 86400.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true,
          default_missing_value = "300",
          value_parser = clap::value_parser!(u64).range(..=86_400))]
    wait: Option<u64>,
}

/// What a process does until SIGTERM.
#[derive(Clone, Copy, PartialEq)]
enum Work {
    Serve,
    Worker,
}

/// Runs the command that the arguments name.
pub fn main<S: Service>() -> ExitCode {
    let name = format!("quartet-{}", S::NAME);
    if let Err(error) = catch_hangup() {
        return exit(&name, Err(error.into()));
    }
    let matches = Arguments::<S::Command>::command()
        .name(name.clone())
        .bin_name(name.clone())
        .version(S::VERSION)
        .about(S::ABOUT)
        .after_long_help(config::render_help(&[COMMON_DEFAULTS, S::DEFAULTS]))
        .after_help("Run with `--help` to list all settings.")
        .get_matches();
    let arguments = match Arguments::<S::Command>::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    exit(&name, run::<S>(arguments))
}

/// Every rule that `serve` checks before it needs anything beside the configuration.
fn check_start<S: Service>(config: &S::Config) -> Result<(), ConfigError> {
    all([check_worker::<S>(config), config.check_serving()])
}

/// The same of `worker`.
fn check_worker<S: Service>(config: &S::Config) -> Result<(), ConfigError> {
    all([
        check(config),
        quartet_db::check(config.sections().database),
        S::verifier(config, &Clock::system()).map(drop),
    ])
}

type Check<S> = fn(&<S as Service>::Config) -> Result<(), ConfigError>;
type Loading<S> = Result<LoadedConfig<<S as Service>::Config>, ConfigError>;

fn run<S: Service>(arguments: Arguments<S::Command>) -> anyhow::Result<()> {
    let file = arguments
        .config
        .or_else(|| std::env::var_os("QUARTET_CONFIG").map(Into::into))
        .filter(|file: &PathBuf| !file.as_os_str().is_empty());
    let sources = Sources::of_process(file);
    let files = sources.secrets();
    let load = move |check: Check<S>| {
        let texts = sources.read()?;
        config::load_texts(&[COMMON_DEFAULTS, S::DEFAULTS], &sources, &texts, check)
    };
    // These need no secret of the service.
    let sections = |load: &dyn Fn(Check<S>) -> Loading<S>| load(|config| config.sections().check());
    match arguments.command {
        Command::Serve(Waiting { wait }) => {
            let limit = Duration::from_secs(wait.unwrap_or_default());
            let loaded = load(check_start::<S>)?;
            serve::<S>(
                Work::Serve,
                loaded,
                move || load(check_serving),
                files,
                limit,
            )
        }
        Command::Worker(Waiting { wait }) => {
            let limit = Duration::from_secs(wait.unwrap_or_default());
            let loaded = load(check_worker::<S>)?;
            serve::<S>(Work::Worker, loaded, move || load(check), files, limit)
        }
        Command::Check => {
            load(check_start::<S>)?;
            print("configuration is valid\n")
        }
        Command::DeadLetters(command) => {
            let loaded = sections(&load)?;
            dead_letters::run::<S>(loaded.config.sections().database, command)
        }
        Command::Migrate => migrate::<S>(&sections(&load)?.config),
        Command::Openapi { version } => print(in_version(S::DOCUMENT, version)?),
        Command::Problems => print(S::problems()),
        Command::Config => print(config::render_markdown(&[COMMON_DEFAULTS, S::DEFAULTS])),
        Command::Healthcheck { ready } => {
            let path = if ready { "/ready" } else { "/health" };
            let loaded = sections(&load)?;
            let server = loaded.config.sections().server;
            if server.tls_certificate.is_some() {
                return healthcheck_by_https(server.listen, path);
            }
            healthcheck(server.listen, path)
        }
        Command::Own(command) => S::run(command, move || Ok(load(check)?.config)),
    }
}

/// As [`healthcheck`]. The certificate is not for the address of this machine, and no one is between.
fn healthcheck_by_https(listen: SocketAddr, path: &str) -> anyhow::Result<()> {
    let client = reqwest::Client::builder()
        .danger_accept_invalid_certs(true)
        .no_proxy()
        .timeout(HEALTHCHECK_TIMEOUT)
        .build()?;
    let url = format!("https://{}{path}", loopback(listen));
    let status = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            client
                .get(&url)
                .send()
                .await
                .map(|response| response.status())
        });
    let status = status.with_context(|| format!("{url} does not respond"))?;
    anyhow::ensure!(status == http::StatusCode::OK, "{url} returned {status}");
    Ok(())
}

fn migrate<S: Service>(config: &S::Config) -> anyhow::Result<()> {
    let sections = config.sections();
    let _telemetry = quartet_telemetry::init(S::NAME, S::VERSION, sections.telemetry)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            quartet_db::migrate(S::MIGRATOR, sections.database, S::NAME).await?;
            let owner = quartet_db::owner_pool(sections.database)?;
            quartet_worker::migrate(&owner, S::NAME).await
        })?;
    tracing::info!("the schema is up to date");
    Ok(())
}

/// `reload` reads the configuration again: on SIGHUP, for the log filter, and when a secret among
/// `files` has changed. `wait` is how long the schema may take to become current.
fn serve<S: Service>(
    work: Work,
    loaded: LoadedConfig<S::Config>,
    reload: impl Fn() -> Loading<S> + Clone + Send + Sync + 'static,
    files: Sources,
    wait: Duration,
) -> anyhow::Result<()> {
    let LoadedConfig { config, settings } = loaded;
    let telemetry = quartet_telemetry::init(S::NAME, S::VERSION, config.sections().telemetry)?;
    quartet_telemetry::report_passed_over(&settings);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let base = Base::new::<S>(&config, Clock::system(), shutdown_signal())?;
        let (built, state) = watch::channel(None);
        let databases = base.databases.clone();
        let reloaded = (databases.clone(), base.tls.is_some());
        let filter = filter::<S>(reload.clone(), settings.clone(), reloaded);
        tokio::spawn(telemetry.level().reload_on_hangup(filter));
        let rotation = Rotation::<S> {
            databases,
            tls: base.tls.clone(),
            settings,
            state,
        };
        tokio::spawn(rotation.run(files, reload));
        let address = base.server.listen;
        let bind = async || {
            let bound = TcpListener::bind(address).await;
            bound.with_context(|| format!("cannot listen on {address} (server.listen)"))
        };
        // An address in use is reported at once. While the schema is awaited, clients must be refused
        // rather than kept waiting.
        drop(bind().await?);
        if !await_schema::<S>(&config, &base, wait).await? {
            return Ok(());
        }
        let listener = bind().await?;
        let mut replica = Replica::<S>::new(config, base)?;
        built.send_replace(Some(replica.state.clone()));
        match work {
            Work::Serve => replica.start().await?,
            Work::Worker => replica.work(),
        }
        // Only now: this line promises that every check of the start has passed.
        tracing::info!(address = %listener.local_addr()?, version = S::VERSION, "listening");
        match work {
            Work::Serve => replica.run(listener).await,
            Work::Worker => replica.run_worker(listener).await,
        }
    });
    if result.is_ok() {
        tracing::info!("stopped");
    }
    // Blocking work, such as password hashing, must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_secs(1));
    drop(telemetry);
    result
}

/// Reads the log filter again. Of other settings, it only names those that have changed.
fn filter<S: Service>(
    reload: impl Fn() -> Loading<S>,
    started: Values,
    (databases, has_tls): (Databases, bool),
) -> impl Fn() -> Result<String, ConfigError> {
    move || {
        let now = reload()?;
        let mut changed = started.changed_keys(&now.settings);
        changed.retain(|key| !is_reloaded::<S>(&databases, has_tls, key));
        if !changed.is_empty() {
            let settings = changed.join(", ");
            tracing::warn!(target: "quartet", settings, "changed settings take effect after a restart");
        }
        Ok(now.config.sections().telemetry.log.clone())
    }
}

/// Runs `work` for a subcommand of the service, once the schema is known to be current.
///
/// # Errors
/// When a setting is invalid, the schema is behind, or `work` fails.
pub fn with_base<S: Service, F: Future<Output = anyhow::Result<()>>>(
    config: S::Config,
    work: impl FnOnce(S::Config, Base) -> F,
) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let base = Base::new::<S>(&config, Clock::system(), CancellationToken::new())?;
            require_schema::<S>(&config, &base).await?;
            work(config, base).await
        })
}

/// Waits while the database is away or not migrated yet; anything else does not pass by itself.
/// `false`: the process has been asked to stop.
async fn await_schema<S: Service>(
    config: &S::Config,
    base: &Base,
    limit: Duration,
) -> anyhow::Result<bool> {
    let deadline = tokio::time::Instant::now() + limit;
    let mut reported = String::new();
    loop {
        let attempt = async {
            if limit.is_zero() {
                return require_schema::<S>(config, base).await;
            }
            let attempt = tokio::time::timeout_at(deadline, require_schema::<S>(config, base));
            match attempt.await {
                Ok(required) => required,
                Err(_) => Err(last_look(config.sections().database).await.into()),
            }
        };
        let error = match base.shutdown.run_until_cancelled(attempt).await {
            None => return Ok(false),
            Some(Ok(())) => return Ok(true),
            Some(Err(error)) => error,
        };
        let passes = matches!(
            error.downcast_ref(),
            Some(
                SchemaError::Database(_)
                    | SchemaError::Unreachable { .. }
                    | SchemaError::Behind { .. }
            )
        );
        let late = tokio::time::Instant::now() >= deadline;
        if !passes || late {
            return Err(error);
        }
        let text = error.to_string();
        if text != reported {
            tracing::warn!(error = text, "waiting for the database");
            reported = text;
        }
        tokio::select! {
            () = tokio::time::sleep(WAIT_PAUSE) => {}
            () = base.shutdown.cancelled() => {}
        }
    }
}

/// Why the database did not respond in time: of a pool, only that it did not.
async fn last_look(database: &Database) -> SchemaError {
    let timed_out = || SchemaError::from(sqlx::Error::PoolTimedOut);
    let look = quartet_db::explain(timed_out(), database);
    let looked = tokio::time::timeout(WAIT_PAUSE, look).await;
    looked.unwrap_or_else(|_| timed_out())
}

async fn require_schema<S: Service>(config: &S::Config, base: &Base) -> anyhow::Result<()> {
    match quartet_db::ensure_current(S::MIGRATOR, &base.db, S::NAME).await {
        Ok(()) => Ok(()),
        Err(error) => Err(quartet_db::explain(error, config.sections().database)
            .await
            .into()),
    }
}
