//! `[tls]`, `[certificates.*]` and `[client_authorities.*]`.

use std::path::PathBuf;

use quartet_common::config::empty_as_none;
use serde::Deserialize;

use super::object::CertificateObject;

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    pub(crate) min_version: MinVersion,
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) default_certificate: Option<String>,
    pub(crate) handshake_timeout_seconds: u64,
    pub(crate) max_handshakes: usize,
    pub(crate) https_port: u32,
}

impl Tls {
    /// `https_port`, within its bounds.
    pub(crate) fn port(&self) -> u16 {
        u16::try_from(self.https_port).unwrap_or(u16::MAX)
    }
}

/// The oldest version that clients may use.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(crate) enum MinVersion {
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

/// A certificate of the public listeners, and its key.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Certificate {
    #[serde(default = "yes")]
    pub(crate) enabled: bool,
    pub(crate) certificate_path: PathBuf,
    pub(crate) key_path: PathBuf,
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
    /// Of the object that it is from, which has no files.
    #[serde(skip)]
    pub(crate) object: Option<CertificateObject>,
}

/// Whose client certificates some hosts accept.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientAuthority {
    pub(crate) hosts: Vec<String>,
    pub(crate) certificates: String,
    #[serde(default = "yes")]
    pub(crate) required: bool,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) subject_header: Option<String>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) fingerprint_header: Option<String>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) certificate_header: Option<String>,
}

fn yes() -> bool {
    true
}
