//! What a route requires of access tokens, beyond whether there is one.

use http::HeaderName;
use serde::Deserialize;

/// The rules of one route. Claims are places among those that are kept of every token.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    /// Indices into the configuration's issuers.
    pub(crate) issuers: Vec<usize>,
    /// In the order in which they are asked.
    pub(crate) token_from: Vec<TokenSource>,
    /// All of these.
    pub(crate) scopes: Vec<String>,
    /// All of these.
    pub(crate) roles: Vec<String>,
    /// All of these.
    pub(crate) claims: Vec<RequiredClaim>,
    /// Headers that the upstream gets. They go before those of an issuer.
    pub(crate) headers: Vec<ClaimHeader>,
}

/// A claim that must have one of several values.
#[derive(Clone, Debug)]
pub(crate) struct RequiredClaim {
    pub(crate) name: String,
    pub(crate) claim: usize,
    pub(crate) values: Vec<String>,
}

/// A header whose value is a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClaimHeader {
    pub(crate) name: HeaderName,
    pub(crate) claim: usize,
}

/// Where a token is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenSource {
    /// `Authorization: Bearer`.
    Header,
    Cookie(TokenCookie),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenCookie {
    pub(crate) name: String,
    pub(crate) forward: CookieForward,
}

/// How the upstream gets the token of a cookie.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CookieForward {
    /// Not at all.
    #[default]
    None,
    /// As the client sent it.
    Cookie,
    /// As `Authorization: Bearer`, in place of the cookie.
    Header,
}
