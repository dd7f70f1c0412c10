//! The command line of the development S3 server.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use quartet_devstore::Options;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// An S3 server for development: signatures are checked, objects are kept on disk.
#[derive(Parser)]
#[command(name = "quartet-devstore", version)]
struct Arguments {
    /// Address to listen on.
    #[arg(
        long,
        env = "QUARTET_DEVSTORE_LISTEN",
        default_value = "127.0.0.1:9000"
    )]
    listen: SocketAddr,
    /// Directory that holds the objects.
    #[arg(long, env = "QUARTET_DEVSTORE_DATA", default_value = ".quartet/s3")]
    data: PathBuf,
    /// Access key that clients sign with.
    #[arg(long, env = "QUARTET_DEVSTORE_ACCESS_KEY", default_value = "quartet")]
    access_key: String,
    /// Secret key that clients sign with.
    #[arg(
        long,
        env = "QUARTET_DEVSTORE_SECRET_KEY",
        default_value = "quartet-development",
        hide_env_values = true
    )]
    secret_key: String,
    /// Bucket to make at the start; may be repeated, commas separate names in the environment.
    #[arg(
        long = "bucket",
        env = "QUARTET_DEVSTORE_BUCKETS",
        value_delimiter = ','
    )]
    buckets: Vec<String>,
    /// Bucket to make at the start whose objects anybody may read; may be repeated.
    #[arg(
        long = "public-bucket",
        env = "QUARTET_DEVSTORE_PUBLIC_BUCKETS",
        value_delimiter = ','
    )]
    public_buckets: Vec<String>,
    /// Origin of browsers for buckets without CORS rules of their own; may be repeated.
    #[arg(
        long = "cors-origin",
        env = "QUARTET_DEVSTORE_CORS_ORIGINS",
        value_delimiter = ',',
        default_value = "*"
    )]
    cors_origins: Vec<String>,
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
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

async fn run(arguments: Arguments) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind(arguments.listen).await.map_err(|error| {
        std::io::Error::new(
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
    }
}
