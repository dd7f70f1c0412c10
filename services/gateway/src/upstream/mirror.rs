//! Copies of requests for another upstream, whose responses no one waits for.
//!
//! A copy never delays or fails the request that it is of: it is sent when the request has been sent,
//! by a task of its own, once, to one replica, and within a time. Copies and their bodies are bounded;
//! what does not fit is not sent, and counted.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    client::{self, UpstreamClient},
    key::BalanceKey,
    replicas::Upstream,
};
use crate::response_body::read_body;

/// Of a response: so much is read for the sake of its connection.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;
/// Of the connection, or of how the body was framed.
static NOT_COPIED: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    HeaderName::from_static("keep-alive"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What became of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MirrorOutcome {
    /// There was a response.
    Sent,
    Failed,
    /// Its body is too large, or there are too many copies.
    Skipped,
}

/// Where copies of one route are sent.
pub(crate) struct Mirror {
    upstream: Arc<Upstream>,
    pub(crate) max_body_bytes: usize,
    timeout: Duration,
    in_flight: Arc<Semaphore>,
    client: UpstreamClient,
    count: Box<dyn Fn(MirrorOutcome) + Send + Sync>,
}

/// A copy that has its place, while its body arrives.
#[derive(Debug)]
pub(crate) struct RequestCopy {
    method: Method,
    target: String,
    headers: HeaderMap,
    host: Option<HeaderValue>,
    body: Vec<u8>,
    /// Counts as a copy until it is dropped.
    _place: OwnedSemaphorePermit,
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror")
            .field("upstream", &self.upstream.config.name)
            .finish_non_exhaustive()
    }
}

impl Mirror {
    pub(crate) fn new(
        upstream: Arc<Upstream>,
        max_body_bytes: usize,
        timeout: Duration,
        max_in_flight: usize,
        count: impl Fn(MirrorOutcome) + Send + Sync + 'static,
    ) -> Self {
        Self {
            upstream,
            max_body_bytes,
            timeout,
            in_flight: Arc::new(Semaphore::new(max_in_flight)),
            client: UpstreamClient::new(),
            count: Box::new(count),
        }
    }

    pub(crate) fn skip(&self) {
        (self.count)(MirrorOutcome::Skipped);
    }

    /// A copy of a head as the upstream receives it. `None`: there are too many.
    pub(crate) fn copy(
        &self,
        method: &Method,
        target: &str,
        headers: &HeaderMap,
    ) -> Option<RequestCopy> {
        let Ok(place) = Arc::clone(&self.in_flight).try_acquire_owned() else {
            self.skip();
            return None;
        };
        let host = headers.get(header::HOST).cloned();
        let mut headers = headers.clone();
        for name in &NOT_COPIED {
            headers.remove(name);
        }
        Some(RequestCopy {
            method: method.clone(),
            target: target.to_owned(),
            headers,
            host,
            body: Vec::new(),
            _place: place,
        })
    }

    /// Sends a copy, and waits for nothing.
    pub(crate) fn send(self: &Arc<Self>, copy: RequestCopy) {
        let mirror = Arc::clone(self);
        tokio::spawn(async move {
            let sent = timeout(mirror.timeout, mirror.exchange(copy)).await;
            let outcome = match sent {
                Ok(Ok(())) => MirrorOutcome::Sent,
                Ok(Err(_)) | Err(_) => MirrorOutcome::Failed,
            };
            (mirror.count)(outcome);
        });
    }

    async fn exchange(&self, copy: RequestCopy) -> anyhow::Result<()> {
        let upstream = &self.upstream;
        let lease = upstream.acquire(BalanceKey::default(), &[], Instant::now());
        let lease = lease.ok_or_else(|| anyhow::anyhow!("no known address"))?;
        let (method, host) = (copy.method, copy.host.as_ref());
        let request = self
            .client
            .request(method, upstream, lease.address, &copy.target, host)?;
        let request = request.headers(copy.headers).body(copy.body);
        let response = client::send(request, &lease).await?;
        // For the next copy on the same connection; what it says does not matter.
        let _ = read_body(response, MAX_RESPONSE_BYTES).await;
        Ok(())
    }
}

impl RequestCopy {
    /// False: the body is too large by now.
    pub(crate) fn push(&mut self, part: &[u8], most: usize) -> bool {
        let fits = self.body.len() + part.len() <= most;
        if fits {
            self.body.extend_from_slice(part);
        }
        fits
    }
}
