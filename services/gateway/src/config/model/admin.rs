//! `[admin]`.

use quartet_common::config::empty_as_none;
use secrecy::SecretString;
use serde::Deserialize;

use super::PrivateKey;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    pub(crate) tokens: Vec<SecretString>,
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) tls_certificate: Option<String>,
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) tls_key: Option<PrivateKey>,
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) tls_client_ca: Option<String>,
}
