//! The command line of the development S3 server.

use std::io::{Error, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use quartet_devstack::http;
use quartet_devstore::{Options, Quirks};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(3);

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
    /// Directory for the objects.
    #[arg(long, env = "QUARTET_DEVSTORE_DATA", default_value = ".quartet/s3")]
    data: PathBuf,
    /// Access key that clients sign with.
    #[arg(long, env = "QUARTET_DEVSTORE_ACCESS_KEY", default_value = "quartet")]
    access_key: String,
    /// File that contains the access key; takes precedence.
    #[arg(long, env = "QUARTET_DEVSTORE_ACCESS_KEY_FILE")]
    access_key_file: Option<PathBuf>,
    /// Secret key that clients sign with.
    #[arg(
        long,
        env = "QUARTET_DEVSTORE_SECRET_KEY",
        default_value = "quartet-development",
        hide_env_values = true
    )]
    secret_key: String,
    /// File that contains the secret key; takes precedence.
    #[arg(long, env = "QUARTET_DEVSTORE_SECRET_KEY_FILE")]
    secret_key_file: Option<PathBuf>,
    /// Bucket to create at start; repeatable, comma-separated in the environment.
    #[arg(
        long = "bucket",
        env = "QUARTET_DEVSTORE_BUCKETS",
        value_delimiter = ','
    )]
    buckets: Vec<String>,
    /// Bucket to create at start, with publicly readable objects; repeatable.
    #[arg(
        long = "public-bucket",
        env = "QUARTET_DEVSTORE_PUBLIC_BUCKETS",
        value_delimiter = ','
    )]
    public_buckets: Vec<String>,
    /// Origin allowed by CORS; repeatable.
    #[arg(
        long = "cors-origin",
        env = "QUARTET_DEVSTORE_CORS_ORIGINS",
        value_delimiter = ',',
        default_value = "*"
    )]
    cors_origins: Vec<String>,
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
            eprintln!("quartet-devstore: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(mut arguments: Arguments) -> Result<()> {
    if matches!(arguments.command, Some(Command::Healthcheck)) {
        return healthcheck(arguments.listen);
    }
    if let Some(path) = &arguments.access_key_file {
        arguments.access_key = first_line(path)?;
    }
    if let Some(path) = &arguments.secret_key_file {
        arguments.secret_key = first_line(path)?;
    }
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,s3s=off"));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .init();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run(arguments))
}

async fn run(arguments: Arguments) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind(arguments.listen).await.map_err(|error| {
        Error::new(
            error.kind(),
            format!("cannot listen on {}: {error}", arguments.listen),
        )
    })?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    quartet_devstore::serve(listener, options(arguments), shutdown).await
}

fn options(arguments: Arguments) -> Options {
    let named = |names: Vec<String>| names.into_iter().filter(|name| !name.is_empty()).collect();
    Options {
        data: arguments.data,
        access_key: arguments.access_key,
        secret_key: arguments.secret_key,
        buckets: named(arguments.buckets),
        public_buckets: named(arguments.public_buckets),
        cors_origins: named(arguments.cors_origins),
        quirks: Quirks::default(),
    }
}

fn first_line(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn healthcheck(listen: SocketAddr) -> Result<()> {
    let ip = match listen.ip() {
        ip if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    let address = SocketAddr::new(ip, listen.port());
    match http::get(address, "/health", HEALTHCHECK_TIMEOUT)?.status {
        200 => Ok(()),
        status => Err(Error::other(format!("{address} returned {status}"))),
    }
}
