//! `split` and `sticky` of a route.

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct SplitPart {
    pub(crate) upstream: String,
    pub(crate) weight: u64,
}

/// `"client_hash"`, or a table with the name of a cookie.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(
    untagged,
    expecting = "must be \"client_hash\", or a table with `cookie` and, if need be, `ttl_seconds`"
)]
pub(crate) enum Sticky {
    By(StickyKey),
    Cookie(StickyCookie),
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StickyKey {
    ClientHash,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct StickyCookie {
    pub(crate) cookie: String,
    #[serde(default)]
    pub(crate) ttl_seconds: Option<u64>,
}
