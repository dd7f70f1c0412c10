//! The sections of the configuration that several binaries have.

use std::net::SocketAddr;

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use toml::Value;
use url::Url;

use super::{
    bounds::{http, within},
    error::{ConfigError, all},
};
use crate::net::TrustedProxies;

/// A longer timeout is a mistake.
const MAX_TIMEOUT_SECONDS: u64 = 86_400;
/// A body is held in memory.
const MAX_BODY_BYTES: usize = 1 << 30;
const MAX_CONNECTIONS: usize = 1_000_000;
/// The most that Postgres can be configured for.
const MAX_DATABASE_CONNECTIONS: u32 = 262_143;
/// What is older is a backup.
const MAX_LAG_SECONDS: u64 = 3600;
/// With a larger difference between clocks, expiry has no meaning.
const MAX_LEEWAY_SECONDS: u64 = 300;

/// The HTTP side of a service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub listen: SocketAddr,
    pub body_limit_bytes: usize,
    pub request_timeout_seconds: u64,
    pub body_timeout_seconds: u64,
    pub header_timeout_seconds: u64,
    pub drain_seconds: u64,
    pub shutdown_grace_seconds: u64,
    pub max_connections: usize,
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// In PEM, as the two below. `None`: plain HTTP.
    #[serde(deserialize_with = "empty_as_none")]
    pub tls_certificate: Option<String>,
    #[serde(deserialize_with = "empty_as_none")]
    pub tls_key: Option<SecretString>,
    #[serde(deserialize_with = "empty_as_none")]
    pub tls_client_ca: Option<String>,
}

/// The service's Postgres.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    pub url: SecretString,
    pub migrate_url: SecretString,
    pub read_url: SecretString,
    pub read_max_lag_seconds: u64,
    pub pooled: bool,
    pub max_connections: u32,
    pub acquire_timeout_seconds: u64,
    pub statement_timeout_seconds: u64,
}

/// Which access tokens are accepted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    #[serde(deserialize_with = "empty_as_none")]
    pub issuer: Option<String>,
    #[serde(deserialize_with = "empty_as_none")]
    pub audience: Option<String>,
    #[serde(deserialize_with = "empty_as_none")]
    pub token_type: Option<String>,
    #[serde(deserialize_with = "empty_as_none")]
    pub jwks_url: Option<Url>,
    #[serde(deserialize_with = "empty_as_none")]
    pub hs256_secret: Option<SecretString>,
    pub jwks_refresh_seconds: u64,
    pub leeway_seconds: u64,
}

/// Durable jobs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    pub in_serve: bool,
    pub concurrency: u32,
    pub poll_interval_ms: u64,
}

/// Logs and traces.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    pub log: String,
    #[serde(deserialize_with = "empty_as_none")]
    pub otlp_endpoint: Option<Url>,
    pub otlp_protocol: OtlpProtocol,
    pub trace_sample_ratio: f64,
}

/// How spans reach the collector, by the names of the OpenTelemetry specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum OtlpProtocol {
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
    #[serde(rename = "grpc")]
    Grpc,
}

impl Server {
    pub fn trusted(&self) -> TrustedProxies {
        TrustedProxies::new(self.trusted_proxies.clone())
    }

    /// # Errors
    /// Every setting out of bounds.
    pub fn check(&self) -> Result<(), ConfigError> {
        let timeout = |key, seconds| within(key, seconds, 1..=MAX_TIMEOUT_SECONDS);
        let grace = |key, seconds| within(key, seconds, 0..=MAX_TIMEOUT_SECONDS);
        let (body, connections) = (self.body_limit_bytes, self.max_connections);
        all([
            within("server.body_limit_bytes", body, 1..=MAX_BODY_BYTES),
            timeout(
                "server.request_timeout_seconds",
                self.request_timeout_seconds,
            ),
            timeout("server.body_timeout_seconds", self.body_timeout_seconds),
            timeout("server.header_timeout_seconds", self.header_timeout_seconds),
            grace("server.drain_seconds", self.drain_seconds),
            grace("server.shutdown_grace_seconds", self.shutdown_grace_seconds),
            within("server.max_connections", connections, 1..=MAX_CONNECTIONS),
        ])
    }
}

impl Database {
    /// # Errors
    /// Every setting out of bounds.
    pub fn check(&self) -> Result<(), ConfigError> {
        let timeout = |key, seconds| within(key, seconds, 1..=MAX_TIMEOUT_SECONDS);
        let lag = self.read_max_lag_seconds;
        all([
            within(
                "database.max_connections",
                self.max_connections,
                1..=MAX_DATABASE_CONNECTIONS,
            ),
            within("database.read_max_lag_seconds", lag, 2..=MAX_LAG_SECONDS),
            timeout(
                "database.acquire_timeout_seconds",
                self.acquire_timeout_seconds,
            ),
            timeout(
                "database.statement_timeout_seconds",
                self.statement_timeout_seconds,
            ),
        ])
    }
}

impl PartialEq for Jwt {
    fn eq(&self, other: &Self) -> bool {
        fn all(jwt: &Jwt) -> impl PartialEq + '_ {
            // Without `..`, so that a new setting cannot be left out.
            let Jwt {
                issuer,
                audience,
                token_type,
                jwks_url,
                hs256_secret,
                jwks_refresh_seconds,
                leeway_seconds,
            } = jwt;
            let secret = hs256_secret.as_ref().map(ExposeSecret::expose_secret);
            let numbers = (jwks_refresh_seconds, leeway_seconds);
            (issuer, audience, token_type, jwks_url, secret, numbers)
        }
        all(self) == all(other)
    }
}

impl Jwt {
    /// # Errors
    /// Every setting out of bounds.
    pub fn check(&self) -> Result<(), ConfigError> {
        all([
            self.jwks_url
                .as_ref()
                .map_or(Ok(()), |url| http("jwt.jwks_url", url)),
            within(
                "jwt.jwks_refresh_seconds",
                self.jwks_refresh_seconds,
                1..=MAX_TIMEOUT_SECONDS,
            ),
            within(
                "jwt.leeway_seconds",
                self.leeway_seconds,
                0..=MAX_LEEWAY_SECONDS,
            ),
        ])
    }
}

impl Worker {
    /// # Errors
    /// Every setting out of bounds.
    pub fn check(&self) -> Result<(), ConfigError> {
        all([
            within("worker.concurrency", self.concurrency, 1..=100),
            within(
                "worker.poll_interval_ms",
                self.poll_interval_ms,
                100..=60_000,
            ),
        ])
    }
}

impl Telemetry {
    /// # Errors
    /// Every setting out of bounds.
    pub fn check(&self) -> Result<(), ConfigError> {
        all([
            self.otlp_endpoint
                .as_ref()
                .map_or(Ok(()), |url| http("telemetry.otlp_endpoint", url)),
            within(
                "telemetry.trace_sample_ratio",
                self.trace_sample_ratio,
                0.0..=1.0,
            ),
        ])
    }
}

/// IP networks. The message of `ipnet` calls a wrong prefix an invalid address.
///
/// # Errors
/// The first text that is none.
pub fn networks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?.into_iter();
    texts
        .map(|text| {
            let network = text.parse::<IpNet>();
            network.map_err(|_| {
                let rule = format!("`{text}` must be an IP network such as 10.0.0.0/8");
                serde::de::Error::custom(rule)
            })
        })
        .collect()
}

/// An empty string means that the setting is not set.
pub fn empty_as_none<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    match Value::deserialize(from)? {
        Value::String(text) if text.is_empty() => Ok(None),
        value => T::deserialize(value)
            .map(Some)
            .map_err(serde::de::Error::custom),
    }
}
