//! The command line of the development S3 server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use quartet_common::cli::healthcheck;
use quartet_devstore::Options;
use quartet_http::serve::shutdown_signal;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// S3 server for development: checks signatures, keeps objects on disk.
#[derive(Parser)]
#[command(name = "quartet-devstore", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// IP address and port to listen on.
    #[arg(
        long,
        env = "QUARTET_DEVSTORE_LISTEN",
        default_value = "127.0.0.1:9000"
    )]
    listen: SocketAddr,
    #[command(flatten)]
    options: Options,
    /// File that contains the access key; takes precedence.
    #[arg(long, env = "QUARTET_DEVSTORE_ACCESS_KEY_FILE")]
    access_key_file: Option<PathBuf>,
    /// File that contains the secret key; takes precedence.
    #[arg(long, env = "QUARTET_DEVSTORE_SECRET_KEY_FILE")]
    secret_key_file: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve requests until SIGTERM (default).
    Serve,
    /// Exit with 0 if the server on this machine is healthy, for container health checks.
    Healthcheck,
}

fn main() -> ExitCode {
    match start(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quartet-devstore: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments {
        listen,
        mut options,
        ..
    } = arguments;
    if matches!(arguments.command, Some(Command::Healthcheck)) {
        return healthcheck(listen, "/health");
    }
    if let Some(path) = &arguments.access_key_file {
        options.access_key = first_line(path)?;
    }
    if let Some(path) = &arguments.secret_key_file {
        options.secret_key = first_line(path)?;
    }
    // An empty variable means none.
    for names in [
        &mut options.buckets,
        &mut options.public_buckets,
        &mut options.cors_origins,
    ] {
        names.retain(|name| !name.is_empty());
    }
    let filter = EnvFilter::try_from_default_env();
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter.unwrap_or_else(|_| EnvFilter::new("info,s3s=off")))
        .init();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let listener = TcpListener::bind(listen).await;
            let listener = listener.with_context(|| format!("cannot listen on {listen}"))?;
            Ok(quartet_devstore::serve(listener, options, shutdown_signal()).await?)
        })
}

fn first_line(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
