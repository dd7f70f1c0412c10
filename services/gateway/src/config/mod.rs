//! The configuration: TOML text -> [`model`] as written -> [`Config`], which is valid.

pub(crate) mod acme;
pub(crate) mod addresses;
pub(crate) mod admin;
pub(crate) mod load;
pub(crate) mod lookups;
pub(crate) mod model;
pub(crate) mod restart;
pub(crate) mod shown;
pub(crate) mod tls;
mod upstreams;
mod validate;

use std::{sync::Arc, time::Duration};

use http::HeaderName;
use quartet_auth::jwt::IssuerSettings;
use quartet_common::{config::Settings, net::TrustedProxies};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    cache::CacheSettings,
    routing::{ClaimHeader, OnStoreError, RouteTable, SecurityHeaders},
};
use acme::AcmeConfig;
use admin::AdminConfig;
use lookups::LookupConfig;
use tls::TlsConfig;
pub(crate) use upstreams::{
    Balancing, ClientIdentity, HashBy, HealthCheck, HealthProbe, Host, LoadLimits, MAX_WEIGHT, Tls,
    UpstreamConfig, UpstreamTarget,
};

/// Every setting with its default and its documentation.
pub const DEFAULTS: &str = include_str!("../../default.toml");

/// A valid configuration. References between its parts are indices.
#[derive(Debug)]
pub(crate) struct Config {
    /// As written, for settings that need no validation beyond their type.
    pub(crate) model: model::Model,
    /// Every setting, to find those that a reload changes.
    pub(crate) settings: Settings,
    /// Of the settings, to compare replicas.
    pub(crate) hash: Arc<str>,
    pub(crate) admin: AdminConfig,
    /// `None`: no certificate is ordered.
    pub(crate) acme: Option<AcmeConfig>,
    pub(crate) tls: TlsConfig,
    pub(crate) trusted_proxies: TrustedProxies,
    /// `[jwt]` first, if it is used.
    pub(crate) issuers: Vec<IssuerConfig>,
    pub(crate) upstreams: Vec<UpstreamConfig>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) lookups: Vec<LookupConfig>,
    /// Of responses to requests that match no route.
    pub(crate) security_headers: Option<Arc<SecurityHeaders>>,
    /// `None`: every process counts for itself.
    pub(crate) limit_store: Option<StoreConfig>,
    pub(crate) caches: Vec<CacheSettings>,
    pub(crate) routes: RouteTable,
}

/// An issuer of access tokens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IssuerConfig {
    /// `jwt`, or the name of its table.
    pub(crate) name: Arc<str>,
    pub(crate) settings: IssuerSettings,
    /// Headers that upstreams get of its tokens.
    pub(crate) headers: Vec<ClaimHeader>,
}

impl IssuerConfig {
    /// Whether this is `[jwt]`, whose sessions core knows.
    pub(crate) fn is_default(&self) -> bool {
        *self.name == *"jwt"
    }
}

/// At most `requests` in any `window`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) name: Arc<str>,
    pub(crate) requests: u32,
    pub(crate) window: Duration,
    /// Maximum number at once; `None`: all of them.
    pub(crate) burst: Option<u32>,
    /// The first that a request has says whose it is.
    pub(crate) keys: Arc<[LimitKey]>,
    /// Routes do not share the counter.
    pub(crate) is_per_route: bool,
    pub(crate) on_store_error: OnStoreError,
}

/// What says whose a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LimitKey {
    User,
    /// The session of the token, or the token.
    Token,
    /// The client that the token was issued to.
    ApiKey,
    ClientIp,
    Header(HeaderName),
}

/// A Redis or Valkey in which the replicas of the gateway count together.
#[derive(Clone, Debug)]
pub(crate) struct StoreConfig {
    pub(crate) redis: RedisConfig,
    pub(crate) key_prefix: String,
    pub(crate) key_secret: Option<SecretString>,
    /// After this number in a row, the store is not asked any more.
    pub(crate) max_failures: u32,
    pub(crate) max_denied_keys: usize,
}

/// How to reach a Redis or Valkey.
#[derive(Clone, Debug)]
pub(crate) struct RedisConfig {
    pub(crate) place: StorePlace,
    /// In PEM. `None`: the authorities that the system trusts.
    pub(crate) authorities: Option<String>,
    pub(crate) database: u32,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<SecretString>,
    pub(crate) sentinel_username: Option<String>,
    pub(crate) sentinel_password: Option<SecretString>,
    /// Of one call.
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
}

impl RedisConfig {
    /// Whether a connection made by one leads to where one made by the other would, with the same rights.
    pub(crate) fn is_same_server(&self, other: &Self) -> bool {
        self.place == other.place
            && self.authorities == other.authorities
            && self.database == other.database
            && self.username == other.username
            && is_same(self.password.as_ref(), other.password.as_ref())
            && self.sentinel_username == other.sentinel_username
            && is_same(
                self.sentinel_password.as_ref(),
                other.sentinel_password.as_ref(),
            )
    }
}

impl StoreConfig {
    /// Whether both count under the same keys, and remember as much of that.
    pub(crate) fn counts_as(&self, other: &Self) -> bool {
        self.redis.is_same_server(&other.redis)
            && self.key_prefix == other.key_prefix
            && is_same(self.key_secret.as_ref(), other.key_secret.as_ref())
            && self.max_denied_keys == other.max_denied_keys
    }
}

fn is_same(one: Option<&SecretString>, other: Option<&SecretString>) -> bool {
    one.map(SecretString::expose_secret) == other.map(SecretString::expose_secret)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StorePlace {
    Single(StoreServer),
    Sentinel {
        sentinels: Vec<StoreServer>,
        master_name: String,
    },
    /// Some of its nodes.
    Cluster(Vec<StoreServer>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreServer {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
}
