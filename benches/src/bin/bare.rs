//! A redirect with nothing around it: the bound of what links can reach. It runs as a process of its own,
//! so that it can be pinned to a core and measured like the services, and allocates as they do, with the
//! C library.
//!
//! `quartet-bench-bare PORT FILE`; the file has one `name: value` of the response per line.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;

/// The runtime is configured as that of the services.
fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let (port, file) = args.next().zip(args.next()).context("PORT FILE")?;
    let port: u16 = port.parse()?;
    let text = std::fs::read_to_string(file).context("read the headers")?;
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
