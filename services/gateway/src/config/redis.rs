//! How to reach a Redis or Valkey.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

/// Its servers, and the rights there.
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

pub(super) fn is_same(one: Option<&SecretString>, other: Option<&SecretString>) -> bool {
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
