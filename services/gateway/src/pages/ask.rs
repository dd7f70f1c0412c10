//! Requests of the gateway itself to its upstreams: documents, and their health.

use std::{sync::Arc, time::Instant};

use http::Method;

use crate::upstream::{
    BalanceKey, Upstream,
    client::{self, UpstreamClient},
};

/// Asks one replica after the other until `read` accepts a response. With leases, as for requests of
/// clients: this may be the probe of an ejected replica, and then has to say how that ended.
///
/// # Errors
/// Of the last replica.
pub(super) async fn ask<T, R: Future<Output = anyhow::Result<T>>>(
    client: &UpstreamClient,
    upstream: &Arc<Upstream>,
    path: &str,
    read: impl Fn(reqwest::Response) -> R,
) -> anyhow::Result<T> {
    let mut tried = Vec::new();
    let mut last = anyhow::anyhow!("no known address");
    while let Some(lease) = upstream.acquire(BalanceKey::default(), &tried, Instant::now()) {
        tried.push(lease.address);
        let request = client.request(Method::GET, upstream, lease.address, path, None)?;
        let sent = client::send(request, &lease).await;
        let read = match sent {
            Ok(response) => read(response).await,
            Err(error) => Err(error.into()),
        };
        match read {
            Ok(result) => return Ok(result),
            Err(error) => last = error,
        }
    }
    Err(last)
}
