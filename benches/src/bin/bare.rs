//! Bounds: a redirect and a password hash with nothing around them. They run as a process of their own, so
//! that they can be pinned to a core and measured like the services; and it is a program of its own, so
//! that it allocates as the services do, with the C library.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use clap::Parser;
use tokio::net::TcpListener;

/// What services are compared with
#[derive(Parser)]
enum Bound {
    /// The redirect: axum and nothing else, with the response of links
    Redirect {
        port: u16,
        /// One `name: value` per line
        headers: PathBuf,
    },
    /// argon2id, one hash after the other; prints how many
    Argon2id {
        memory_kib: u32,
        passes: u32,
        lanes: u32,
        seconds: u64,
    },
}

fn main() -> anyhow::Result<()> {
    match Bound::parse() {
        Bound::Redirect { port, headers } => redirect(port, &headers),
        Bound::Argon2id {
            memory_kib,
            passes,
            lanes,
            seconds,
        } => {
            let params = Params::new(memory_kib, passes, lanes, None)?;
            println!("{}", hash_for(params, Duration::from_secs(seconds))?);
            Ok(())
        }
    }
}

/// The runtime is configured as that of the services.
fn redirect(port: u16, headers: &std::path::Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(headers).context("read the headers")?;
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    let headers = lines
        .map(|(name, value)| Ok((name.parse::<HeaderName>()?, value.parse::<HeaderValue>()?)))
        .collect::<anyhow::Result<HeaderMap>>()?;
    let router = Router::new()
        .route("/s/{slug}", get(follow_link))
        .route("/ready", get(|| async {}))
        .with_state(Arc::new(headers));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let listener = listener.tap_io(|stream| {
            // Small responses must not wait for the acknowledgement of the client.
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, router).await.context("serve")
    })
}

async fn follow_link(
    State(headers): State<Arc<HeaderMap>>,
    Path(_slug): Path<String>,
) -> (StatusCode, HeaderMap) {
    (StatusCode::FOUND, HeaderMap::clone(&headers))
}

fn hash_for(params: Params, duration: Duration) -> argon2::Result<u64> {
    // Allocated once: a bound pays for no memory.
    let mut memory = vec![Block::default(); params.block_count()];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut hash = [0_u8; 32];
    let mut hashes = 0_u64;
    let begin = Instant::now();
    while begin.elapsed() < duration {
        let salt = u128::from(hashes).to_le_bytes();
        let password = b"tangerine violin moss";
        argon2.hash_password_into_with_memory(password, &salt, &mut hash, &mut memory)?;
        hashes += 1;
    }
    Ok(hashes)
}
