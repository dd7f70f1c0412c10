//! `[cors.*]`, `[maintenance]`, `[security_headers]`, and what routes say about these.

use ipnet::IpNet;
use quartet_common::config::{empty_as_none, networks};
use serde::{Deserialize, Deserializer};

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cors {
    pub(crate) origins: Vec<String>,
    #[serde(default)]
    pub(crate) methods: Vec<String>,
    #[serde(default = "request_headers")]
    pub(crate) request_headers: Vec<String>,
    #[serde(default = "exposed_headers")]
    pub(crate) exposed_headers: Vec<String>,
    #[serde(default)]
    pub(crate) credentials: bool,
    #[serde(default = "max_age_seconds")]
    pub(crate) max_age_seconds: u64,
    #[serde(default)]
    pub(crate) private_network: bool,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Maintenance {
    pub(crate) enabled: bool,
    pub(crate) retry_after_seconds: u64,
    #[serde(deserialize_with = "networks")]
    pub(crate) allowed_networks: Vec<IpNet>,
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) text: Option<String>,
}

/// An empty value leaves a header out.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecurityHeaders {
    pub(crate) enabled: bool,
    pub(crate) content_type_options: String,
    pub(crate) frame_options: String,
    pub(crate) referrer_policy: String,
    pub(crate) permissions_policy: String,
    pub(crate) content_security_policy: String,
    pub(crate) strict_transport_security: String,
}

/// `false`, or a table of those values that differ.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(
    untagged,
    expecting = "must be true, false, or a table of values of [security_headers]"
)]
pub(crate) enum RouteSecurityHeaders {
    Enabled(bool),
    Table(SecurityHeaderValues),
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SecurityHeaderValues {
    pub(crate) content_type_options: Option<String>,
    pub(crate) frame_options: Option<String>,
    pub(crate) referrer_policy: Option<String>,
    pub(crate) permissions_policy: Option<String>,
    pub(crate) content_security_policy: Option<String>,
    pub(crate) strict_transport_security: Option<String>,
}

/// One of `status`, `delay_ms` and `abort`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    pub(crate) percent: u8,
    #[serde(default)]
    pub(crate) status: Option<u16>,
    #[serde(default)]
    pub(crate) delay_ms: Option<u64>,
    #[serde(default)]
    pub(crate) abort: bool,
}

/// A value that replaces, or a table that adds.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(
    untagged,
    expecting = "must be a value, { add = [...] } or { if_absent = \"...\" }"
)]
pub(crate) enum HeaderEdit {
    /// An empty one removes the header.
    Set(String),
    Add(AddedHeader),
    SetMissing(MissingHeader),
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddedHeader {
    pub(crate) add: super::names::Names,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct MissingHeader {
    pub(crate) if_absent: String,
}

/// As [`networks`], of a route.
pub(super) fn some_networks<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Vec<IpNet>>, D::Error> {
    networks(from).map(Some)
}

fn request_headers() -> Vec<String> {
    [
        "authorization",
        "content-type",
        "idempotency-key",
        "if-match",
        "if-none-match",
    ]
    .map(str::to_owned)
    .into()
}

/// Those that the gateway or Quartet's services set, and that a page has a use for.
fn exposed_headers() -> Vec<String> {
    [
        "etag",
        "location",
        "ratelimit",
        "ratelimit-policy",
        "retry-after",
        "x-request-id",
    ]
    .map(str::to_owned)
    .into()
}

fn max_age_seconds() -> u64 {
    600
}
