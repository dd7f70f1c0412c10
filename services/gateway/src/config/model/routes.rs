//! `[routes.*]`, and what holds for routes that do not say otherwise.

use std::collections::BTreeMap;

use ipnet::IpNet;
use quartet_common::config::{empty_as_none, networks};
use serde::Deserialize;

use super::{
    Names, TokenPlace,
    compression::Compress,
    forward_auth::ForwardAuth,
    guards::{Fault, HeaderEdit, RouteSecurityHeaders, some_networks},
    lookups::RouteLookup,
    mirror::Mirror,
    object::RouteObject,
    split::{SplitPart, Sticky},
};
use crate::routing::{
    AfterSunset, Auth, GatewayPage, OnStoreError, RequestDecompression, RetryOn, ValidationMode,
};

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteDefaults {
    pub(crate) body_limit_bytes: u64,
    pub(crate) body_timeout_seconds: u64,
    pub(crate) response_timeout_seconds: u64,
    pub(crate) stream_timeout_seconds: u64,
    pub(crate) request_timeout_seconds: u64,
    pub(crate) cors: String,
    #[serde(deserialize_with = "networks")]
    pub(crate) allowed_networks: Vec<IpNet>,
    #[serde(deserialize_with = "networks")]
    pub(crate) denied_networks: Vec<IpNet>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    #[serde(default = "enabled")]
    pub(crate) enabled: bool,
    pub(crate) paths: Vec<String>,
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
    #[serde(default)]
    pub(crate) methods: Vec<String>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, Condition>,
    #[serde(default)]
    pub(crate) query: BTreeMap<String, Condition>,
    #[serde(default)]
    pub(crate) priority: i32,
    #[serde(default)]
    pub(crate) upstream: Option<String>,
    #[serde(default)]
    pub(crate) split: Option<Vec<SplitPart>>,
    #[serde(default)]
    pub(crate) sticky: Option<Sticky>,
    #[serde(default)]
    pub(crate) lookup: Option<RouteLookup>,
    #[serde(default)]
    pub(crate) mirror: Option<Mirror>,
    #[serde(default)]
    pub(crate) serve: Option<GatewayPage>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) redirect: Option<String>,
    #[serde(default)]
    pub(crate) redirect_status: Option<u16>,
    #[serde(default)]
    pub(crate) respond: Option<Respond>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) site: Option<String>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) rewrite: Option<String>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) deprecated_on: Option<String>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) sunset_on: Option<String>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) deprecation_link: Option<String>,
    #[serde(default)]
    pub(crate) after_sunset: AfterSunset,
    #[serde(default)]
    pub(crate) auth: Auth,
    /// `None`: by the host.
    #[serde(default)]
    pub(crate) login: Option<String>,
    #[serde(default)]
    pub(crate) forward_auth: Option<ForwardAuth>,
    #[serde(default)]
    pub(crate) issuers: Names,
    #[serde(default)]
    pub(crate) token_from: Option<Vec<TokenPlace>>,
    #[serde(default)]
    pub(crate) required_scopes: Vec<String>,
    #[serde(default)]
    pub(crate) required_roles: Vec<String>,
    #[serde(default)]
    pub(crate) required_claims: BTreeMap<String, Names>,
    #[serde(default)]
    pub(crate) claim_headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) limit: Names,
    #[serde(default)]
    pub(crate) on_store_error: Option<OnStoreError>,
    #[serde(default)]
    pub(crate) compress: Compress,
    #[serde(default)]
    pub(crate) request_decompression: RequestDecompression,
    #[serde(default)]
    pub(crate) grpc_web: bool,
    #[serde(default)]
    pub(crate) validate: ValidationMode,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) cache: Option<String>,
    #[serde(default)]
    pub(crate) request_headers: BTreeMap<String, HeaderEdit>,
    #[serde(default)]
    pub(crate) response_headers: BTreeMap<String, HeaderEdit>,
    #[serde(default)]
    pub(crate) request_timeout_seconds: Option<u64>,
    #[serde(default)]
    pub(crate) cors: Option<String>,
    #[serde(default, deserialize_with = "some_networks")]
    pub(crate) allowed_networks: Option<Vec<IpNet>>,
    #[serde(default, deserialize_with = "some_networks")]
    pub(crate) denied_networks: Option<Vec<IpNet>>,
    #[serde(default)]
    pub(crate) maintenance: Option<bool>,
    #[serde(default)]
    pub(crate) fault: Option<Fault>,
    #[serde(default)]
    pub(crate) security_headers: Option<RouteSecurityHeaders>,
    #[serde(default)]
    pub(crate) redirect_to_https: bool,
    #[serde(default)]
    pub(crate) upgrade: bool,
    #[serde(default)]
    pub(crate) ping_seconds: u64,
    #[serde(default)]
    pub(crate) stream: bool,
    #[serde(default)]
    pub(crate) raw_path: bool,
    #[serde(default)]
    pub(crate) body_limit_bytes: Option<u64>,
    #[serde(default)]
    pub(crate) body_timeout_seconds: Option<u64>,
    #[serde(default)]
    pub(crate) response_timeout_seconds: Option<u64>,
    #[serde(default)]
    pub(crate) stream_timeout_seconds: Option<u64>,
    #[serde(default)]
    pub(crate) retry_on: Option<RetryOn>,
    /// Of the object that it is from.
    #[serde(skip)]
    pub(crate) object: Option<RouteObject>,
}

impl Route {
    /// The route to the pages of a login.
    pub(crate) fn of_login(
        login: &str,
        paths: Vec<String>,
        host: Option<String>,
        limit: Names,
    ) -> Self {
        let hosts: Vec<String> = host.into_iter().collect();
        let route = serde_json::json!({
            "paths": paths,
            "hosts": hosts,
            "serve": "login",
            "login": login,
            "auth": "public",
            "priority": i32::MAX,
        });
        let mut route: Self =
            serde_json::from_value(route).expect("all other settings have defaults");
        route.limit = limit;
        route
    }

    /// Whether requests are forwarded.
    pub(crate) fn has_upstream(&self) -> bool {
        self.upstream.is_some() || self.split.is_some() || self.lookup.is_some()
    }
}

/// The response to every request.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Respond {
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) body: String,
    #[serde(default = "plain_text")]
    pub(crate) content_type: String,
}

/// A value, or whether there must be one at all.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(
    untagged,
    expecting = "must be a value, true for any value, or false for none"
)]
pub(crate) enum Condition {
    Value(String),
    IsPresent(bool),
}

fn enabled() -> bool {
    true
}

fn plain_text() -> String {
    "text/plain; charset=utf-8".to_owned()
}
