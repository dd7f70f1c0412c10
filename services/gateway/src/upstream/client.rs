//! Requests of the gateway itself to an upstream, with leases as for requests of clients: such a
//! request may be the probe of an ejected replica, and then has to say how that ended.

use std::{
    net::SocketAddr,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use http::{HeaderValue, Method, header};

use super::{
    lease::{Lease, ReplicaOutcome},
    replicas::Upstream,
};
use crate::config::{ClientIdentity, Tls};

/// Then another replica is asked.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Connections that are kept for further requests.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamClient {
    connect_timeout: Duration,
    /// Made for the first request: it holds the certificates of the platform.
    plain: Arc<LazyLock<reqwest::Client, Box<dyn FnOnce() -> reqwest::Client + Send>>>,
}

impl UpstreamClient {
    pub(crate) fn new() -> Self {
        Self::with_connect_timeout(CONNECT_TIMEOUT)
    }

    pub(crate) fn with_connect_timeout(connect_timeout: Duration) -> Self {
        Self {
            connect_timeout,
            plain: Arc::new(LazyLock::new(Box::new(move || {
                let client = builder(connect_timeout).build();
                client.expect("a client with default TLS settings can be built")
            }))),
        }
    }

    /// A request to one replica. `host`: for upstreams without a `host` of their own.
    ///
    /// # Errors
    /// When the certificates of the upstream cannot be used.
    pub(crate) fn request(
        &self,
        method: Method,
        upstream: &Upstream,
        address: SocketAddr,
        target: &str,
        host: Option<&HeaderValue>,
    ) -> anyhow::Result<reqwest::RequestBuilder> {
        let host = upstream.config.host.as_ref().or(host);
        self.request_with_host(method, upstream, address, target, host)
    }

    /// A request to one replica, with this host even if the upstream has one of its own.
    ///
    /// # Errors
    /// When the certificates of the upstream cannot be used.
    pub(super) fn request_with_host(
        &self,
        method: Method,
        upstream: &Upstream,
        address: SocketAddr,
        target: &str,
        host: Option<&HeaderValue>,
    ) -> anyhow::Result<reqwest::RequestBuilder> {
        let request = match &upstream.config.tls {
            None => self
                .plain
                .request(method, format!("http://{address}{target}")),
            Some(tls) => {
                let url = format!("https://{}:{}{target}", tls.server_name, address.port());
                self.client_by_tls(tls, address)?.request(method, url)
            }
        };
        Ok(match host {
            Some(host) => request.header(header::HOST, host),
            None => request,
        })
    }

    /// A client of its own: it trusts the authorities of this upstream only.
    fn client_by_tls(&self, tls: &Tls, address: SocketAddr) -> anyhow::Result<reqwest::Client> {
        let mut builder = builder(self.connect_timeout).resolve(&tls.server_name, address);
        if let Some(authorities) = &tls.authorities {
            let certificates: Result<Vec<_>, _> = authorities
                .iter()
                .map(|der| reqwest::Certificate::from_der(der))
                .collect();
            builder = builder.tls_certs_only(certificates?);
        }
        if let Some(ClientIdentity { pem, .. }) = &tls.identity {
            builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes())?);
        }
        Ok(builder.build()?)
    }
}

/// Sends a request to the replica of a lease, which learns how it went.
pub(crate) async fn send(
    request: reqwest::RequestBuilder,
    lease: &Lease,
) -> reqwest::Result<reqwest::Response> {
    let sent = request.send().await;
    let outcome = match &sent {
        Ok(response) => ReplicaOutcome::of_status(response.status().as_u16()),
        Err(error) if error.is_connect() => ReplicaOutcome::ConnectFailed,
        Err(_) => ReplicaOutcome::Broken,
    };
    lease.report(outcome, Instant::now());
    sent
}

fn builder(connect_timeout: Duration) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(connect_timeout)
        .no_proxy()
}
