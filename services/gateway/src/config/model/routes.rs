//! `[routes.*]`, and what holds for routes that do not say otherwise.

use std::collections::BTreeMap;

use quartet_common::config::empty_as_none;
use serde::Deserialize;

use crate::routing::{Auth, GatewayPage};

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteDefaults {
    pub(crate) body_limit_bytes: u64,
    pub(crate) body_timeout_seconds: u64,
    pub(crate) response_timeout_seconds: u64,
    pub(crate) stream_timeout_seconds: u64,
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
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) priority: i32,
    #[serde(default)]
    pub(crate) upstream: Option<String>,
    #[serde(default)]
    pub(crate) serve: Option<GatewayPage>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) redirect: Option<String>,
    #[serde(default)]
    pub(crate) auth: Auth,
    #[serde(default)]
    pub(crate) limit: Names,
    #[serde(default)]
    pub(crate) request_headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) response_headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) upgrade: bool,
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
}

/// One name or several.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub(crate) enum Names {
    One(String),
    Several(Vec<String>),
}

impl Default for Names {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl Names {
    /// An empty name is none.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        let names = match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        };
        names
            .iter()
            .map(String::as_str)
            .filter(|name| !name.is_empty())
    }
}

fn enabled() -> bool {
    true
}
