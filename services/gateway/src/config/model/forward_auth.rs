//! `forward_auth` of a route.

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForwardAuth {
    pub(crate) url: String,
    #[serde(default)]
    pub(crate) login_url: Option<String>,
    #[serde(default = "timeout_ms")]
    pub(crate) timeout_ms: u64,
    #[serde(default = "copy_request_headers")]
    pub(crate) copy_request_headers: Vec<String>,
    #[serde(default)]
    pub(crate) copy_response_headers: Vec<String>,
    #[serde(default)]
    pub(crate) copy_client_headers: Vec<String>,
    #[serde(default = "max_body_bytes")]
    pub(crate) max_body_bytes: usize,
    #[serde(default = "max_in_flight")]
    pub(crate) max_in_flight: usize,
}

fn timeout_ms() -> u64 {
    5_000
}

/// What services recognize callers by, and tell people from programs.
fn copy_request_headers() -> Vec<String> {
    [
        "accept",
        "accept-language",
        "authorization",
        "cookie",
        "origin",
        "referer",
        "sec-fetch-dest",
        "sec-fetch-mode",
        "sec-fetch-site",
        "user-agent",
        "x-requested-with",
    ]
    .map(str::to_owned)
    .into()
}

fn max_body_bytes() -> usize {
    64 * 1024
}

fn max_in_flight() -> usize {
    256
}
