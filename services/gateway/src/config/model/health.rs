//! `[health]`.

use ipnet::IpNet;
use quartet_common::config::{empty_as_none, networks};
use secrecy::SecretString;
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Health {
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) token: Option<SecretString>,
    #[serde(deserialize_with = "networks")]
    pub(crate) allowed_networks: Vec<IpNet>,
    pub(crate) needed: Vec<String>,
    pub(crate) path: String,
    pub(crate) timeout_ms: u64,
}
