//! `[sites.*]`.

use std::collections::BTreeMap;

use quartet_common::config::empty_as_none;
use serde::Deserialize;

use crate::routing::Coding;

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Site {
    pub(crate) directory: String,
    #[serde(default = "index")]
    pub(crate) index: String,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) fallback: Option<String>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) not_found: Option<String>,
    #[serde(default)]
    pub(crate) clean_urls: bool,
    #[serde(default = "precompressed")]
    pub(crate) precompressed: Vec<Coding>,
    #[serde(default = "enabled")]
    pub(crate) immutable_names: bool,
    #[serde(default)]
    pub(crate) immutable_paths: Vec<String>,
    #[serde(default)]
    pub(crate) max_age_seconds: u64,
    #[serde(default = "check_interval_ms")]
    pub(crate) check_interval_ms: u64,
    #[serde(default)]
    pub(crate) keep_previous_seconds: u64,
    #[serde(default = "max_cache_bytes")]
    pub(crate) max_cache_bytes: u64,
    #[serde(default = "max_cached_file_bytes")]
    pub(crate) max_cached_file_bytes: u64,
    #[serde(default)]
    pub(crate) content_types: BTreeMap<String, String>,
}

fn index() -> String {
    "index.html".to_owned()
}

fn precompressed() -> Vec<Coding> {
    vec![Coding::Brotli, Coding::Zstd, Coding::Gzip]
}

fn enabled() -> bool {
    true
}

fn check_interval_ms() -> u64 {
    1_000
}

fn max_cache_bytes() -> u64 {
    64 * 1024 * 1024
}

fn max_cached_file_bytes() -> u64 {
    1024 * 1024
}
