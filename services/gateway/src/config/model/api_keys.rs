//! `[api_keys]`.

use quartet_common::config::empty_as_none;
use serde::Deserialize;
use url::Url;

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiKeys {
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) url: Option<Url>,
    pub(crate) timeout_ms: u64,
    pub(crate) max_cached: u64,
}
