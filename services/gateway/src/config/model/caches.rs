//! `[caches.*]`.

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cache {
    #[serde(default = "max_bytes")]
    pub(crate) max_bytes: u64,
    #[serde(default = "max_object_bytes")]
    pub(crate) max_object_bytes: u64,
    #[serde(default = "max_variants")]
    pub(crate) max_variants: u64,
    #[serde(default)]
    pub(crate) ttl_seconds: u64,
    #[serde(default)]
    pub(crate) max_heuristic_seconds: u64,
    #[serde(default)]
    pub(crate) stale_while_revalidate_seconds: u64,
    #[serde(default)]
    pub(crate) stale_if_error_seconds: u64,
    #[serde(default = "fill_wait_ms")]
    pub(crate) fill_wait_ms: u64,
    #[serde(default)]
    pub(crate) key_headers: Vec<String>,
    #[serde(default)]
    pub(crate) key_cookies: Vec<String>,
    #[serde(default)]
    pub(crate) set_cookie: SetCookie,
    #[serde(default)]
    pub(crate) client_directives: ClientDirectives,
    #[serde(default)]
    pub(crate) targeted_control: Vec<String>,
    #[serde(default = "tag_headers")]
    pub(crate) tag_headers: Vec<String>,
    #[serde(default)]
    pub(crate) forward_tags: bool,
    #[serde(default = "status_header")]
    pub(crate) status_header: bool,
}

/// What becomes of a response with `Set-Cookie`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SetCookie {
    /// It is not stored.
    #[default]
    Refuse,
    /// It is stored without its cookies.
    Strip,
}

/// Whether `Cache-Control` of requests has an effect.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClientDirectives {
    #[default]
    Apply,
    Ignore,
}

fn max_bytes() -> u64 {
    64 * 1024 * 1024
}

fn max_object_bytes() -> u64 {
    1024 * 1024
}

fn max_variants() -> u64 {
    32
}

fn fill_wait_ms() -> u64 {
    5_000
}

fn tag_headers() -> Vec<String> {
    ["cache-tag", "surrogate-key"].map(str::to_owned).into()
}

fn status_header() -> bool {
    true
}
