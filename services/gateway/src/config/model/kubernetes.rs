//! `[kubernetes]`.

use std::path::PathBuf;

use quartet_common::config::empty_as_none;
use serde::Deserialize;

use super::names::Names;
use crate::routing::Auth;

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kubernetes {
    pub(crate) enabled: bool,
    pub(crate) controller_name: String,
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) gateway_class: Option<String>,
    pub(crate) gateways: Vec<String>,
    pub(crate) namespaces: Vec<String>,
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) addresses: Vec<String>,
    pub(crate) http_port: u32,
    pub(crate) auth: Auth,
    pub(crate) trusted_namespaces: Vec<String>,
    pub(crate) limit: Names,
    pub(crate) max_objects: usize,
    pub(crate) max_object_bytes: usize,
    pub(crate) max_routes: usize,
    pub(crate) pause_ms: u64,
}
