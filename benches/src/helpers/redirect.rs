//! The bare redirect: axum and nothing else, with the answer that links gives.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;

/// The runtime is made as the services make theirs.
pub(super) fn run(words: &[String]) -> anyhow::Result<()> {
    let (port, text) = super::port_and_file(words)?;
    let headers = Arc::new(parse(&text)?);
    let router = Router::new()
        .route("/s/{slug}", get(follow_link))
        .route("/ready", get(|| async {}))
        .with_state(headers);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let listener = listener.tap_io(|stream| {
            // Small answers must not wait for the client's acknowledgement.
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

/// One `name: value` per line.
fn parse(text: &str) -> anyhow::Result<HeaderMap> {
    text.lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| Ok((name.parse::<HeaderName>()?, value.parse::<HeaderValue>()?)))
        .collect()
}
