//! A valid `[upstreams.*]`.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::model::{CircuitBreaker, OutlierDetection};
use crate::routing::RetryOn;

/// Of one target; bounds the length of a round.
pub(crate) const MAX_WEIGHT: u32 = 100;

/// A set of replicas, and how they are connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamConfig {
    pub(crate) name: Arc<str>,
    pub(crate) targets: Vec<UpstreamTarget>,
    /// The `Host` header for replicas; `None` keeps the client's.
    pub(crate) host: Option<HeaderValue>,
    pub(crate) connect_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    /// For each replica.
    pub(crate) max_idle_connections: usize,
    pub(crate) retries: u32,
    pub(crate) retry_budget_percent: u32,
    pub(crate) retry_on: RetryOn,
    /// Before a replica that could not be reached is tried again. Zero: it is not.
    pub(crate) retry_backoff: Duration,
    /// Until the head of a response, while another replica could be asked.
    pub(crate) try_timeout: Option<Duration>,
    /// Requests with an `Idempotency-Key` are safe to retry.
    pub(crate) idempotency_keys: bool,
    pub(crate) min_eject: Duration,
    pub(crate) max_eject: Duration,
    pub(crate) outlier_detection: Option<OutlierDetection>,
    pub(crate) health_check: Option<HealthCheck>,
    pub(crate) circuit_breaker: Option<CircuitBreaker>,
    /// Zero: none.
    pub(crate) slow_start: Duration,
    pub(crate) load: LoadLimits,
    pub(crate) balance: Balancing,
    /// `None`: connections are plain.
    pub(crate) tls: Option<Tls>,
    /// Without TLS: HTTP/2 with prior knowledge. With TLS: it is offered beside HTTP/1.1.
    pub(crate) http2: bool,
    /// On a connection with HTTP/2.
    pub(crate) max_http2_streams: usize,
    pub(crate) openapi: Option<String>,
    /// The OpenAPI document, if it is not fetched.
    pub(crate) document: Option<Arc<Value>>,
}

/// Which replica a request is sent to first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Balancing {
    RoundRobin,
    LeastLoaded,
    Hash(HashBy),
}

/// What requests with the same replica have in common. Without it, it is the client IP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HashBy {
    /// The user, if there is a valid token.
    Client,
    ClientIp,
    Header(HeaderName),
    Cookie(Box<str>),
}

/// Requests in flight. 0: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LoadLimits {
    pub(crate) upstream: usize,
    pub(crate) replica: usize,
    /// Requests that wait for others to end.
    pub(crate) queue: usize,
    pub(crate) queue_timeout: Duration,
}

/// How replicas are asked whether they are healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HealthCheck {
    pub(crate) probe: HealthProbe,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    /// Successes in a row that end the exclusion of a replica.
    pub(crate) healthy_after: u32,
    /// Failures in a row that begin it.
    pub(crate) unhealthy_after: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HealthProbe {
    /// A TCP connection is enough.
    Connection,
    Request {
        path: Arc<str>,
        host: Option<HeaderValue>,
        /// Empty: 200 to 299.
        expected: Vec<u16>,
    },
}

/// How the certificate of an upstream is verified, and what is offered to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tls {
    /// That the certificate must have.
    pub(crate) server_name: String,
    /// Certificates in DER. `None`: the authorities that the system trusts.
    pub(crate) authorities: Option<Vec<Vec<u8>>>,
    /// HTTP/2 is offered beside HTTP/1.1.
    pub(crate) http2: bool,
    /// What the gateway proves itself with.
    pub(crate) identity: Option<ClientIdentity>,
}

/// A client certificate with its chain, and its key, in DER.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClientIdentity {
    pub(crate) certificates: Vec<Vec<u8>>,
    pub(crate) key: Vec<u8>,
    /// Both in PEM.
    pub(crate) pem: String,
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.certificates.len();
        f.debug_struct("ClientIdentity")
            .field("certificates", &count)
            .finish_non_exhaustive()
    }
}

/// One configured address, literal or to be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamTarget {
    pub(crate) host: Host,
    /// 0 for a service: its records or endpoints have the ports.
    pub(crate) port: u16,
    /// Requests that each of its replicas receives in a round.
    pub(crate) weight: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Ip(IpAddr),
    Name(String),
    /// The name of SRV records.
    Service(String),
    /// Its endpoints are the replicas.
    Kubernetes(ServicePort),
}

/// A port of a service of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServicePort {
    pub(crate) namespace: String,
    pub(crate) service: String,
    /// A name, or a number.
    pub(crate) port: String,
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}:{}", self.service, self.namespace, self.port)
    }
}

impl LoadLimits {
    /// Whether requests in flight are limited at all.
    pub(crate) fn any(&self) -> bool {
        self.upstream > 0 || self.replica > 0
    }
}

impl UpstreamConfig {
    /// Of replicas on port 80 of these IP addresses.
    #[cfg(test)]
    pub(crate) fn of_test(addresses: &[&str]) -> Self {
        let target = |address: &&str| UpstreamTarget {
            host: Host::Ip(address.parse().unwrap()),
            port: 80,
            weight: 1,
        };
        Self {
            name: "u".into(),
            targets: addresses.iter().map(target).collect(),
            host: None,
            connect_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(1),
            max_idle_connections: 512,
            retries: 2,
            retry_budget_percent: 20,
            retry_on: RetryOn::default(),
            retry_backoff: Duration::ZERO,
            try_timeout: None,
            idempotency_keys: false,
            min_eject: Duration::from_millis(100),
            max_eject: Duration::from_secs(1),
            outlier_detection: None,
            health_check: None,
            circuit_breaker: None,
            slow_start: Duration::ZERO,
            load: LoadLimits::default(),
            balance: Balancing::RoundRobin,
            tls: None,
            http2: false,
            max_http2_streams: 1,
            openapi: None,
            document: None,
        }
    }
}
