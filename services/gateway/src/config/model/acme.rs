//! `[acme]` and its certificates.

use std::{collections::BTreeMap, path::PathBuf};

use quartet_common::config::empty_as_none;
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::Redis;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Acme {
    pub(crate) directory_url: Url,
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) directory_ca: Option<String>,
    pub(crate) contact: Vec<String>,
    pub(crate) terms_agreed: bool,
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) external_account_id: Option<String>,
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) external_account_key: Option<SecretString>,
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) profile: Option<String>,
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) directory: Option<PathBuf>,
    pub(crate) redis: Redis,
    pub(crate) key_prefix: String,
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) encryption_key: Option<SecretString>,
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) previous_encryption_key: Option<SecretString>,
    pub(crate) poll_seconds: u64,
    pub(crate) renewal_check_seconds: u64,
    pub(crate) retry_seconds: u64,
    pub(crate) request_timeout_seconds: u64,
    pub(crate) order_timeout_seconds: u64,
    #[serde(default)]
    pub(crate) certificates: BTreeMap<String, AcmeCertificate>,
}

/// `[acme.certificates.NAME]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct AcmeCertificate {
    pub(crate) hosts: Vec<String>,
    /// In place of that of `[acme]`.
    #[serde(default)]
    pub(crate) profile: Option<String>,
}
