//! `mirror` of a route.

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mirror {
    pub(crate) upstream: String,
    #[serde(default = "percent")]
    pub(crate) percent: u32,
    #[serde(default = "max_body_bytes")]
    pub(crate) max_body_bytes: usize,
    #[serde(default = "timeout_ms")]
    pub(crate) timeout_ms: u64,
    #[serde(default = "max_in_flight")]
    pub(crate) max_in_flight: usize,
}

fn percent() -> u32 {
    100
}

fn max_body_bytes() -> usize {
    64 * 1024
}

fn timeout_ms() -> u64 {
    5_000
}

fn max_in_flight() -> usize {
    64
}
