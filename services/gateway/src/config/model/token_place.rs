//! The places that a route reads access tokens from.

use serde::Deserialize;

use crate::routing::CookieForward;

/// Where a token is read from.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(
    untagged,
    expecting = "must be \"header\", or a table with `cookie` and, if need be, `forward`"
)]
pub(crate) enum TokenPlace {
    Header(HeaderPlace),
    Cookie(CookiePlace),
}

/// `Authorization: Bearer`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HeaderPlace {
    Header,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct CookiePlace {
    pub(crate) cookie: String,
    #[serde(default)]
    pub(crate) forward: CookieForward,
}
