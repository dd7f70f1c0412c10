//! `[jwt]` and `[issuers.*]`.

use std::collections::BTreeMap;

use quartet_auth::jwt::TokenAlgorithm;
use quartet_common::config::empty_as_none;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::Names;

/// An issuer of access tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Issuer {
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) issuer: Option<String>,
    /// `None`: not said; empty: any.
    #[serde(default)]
    pub(crate) audience: Option<Names>,
    #[serde(default = "token_type", deserialize_with = "empty_as_none")]
    pub(crate) token_type: Option<String>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) jwks_url: Option<Url>,
    #[serde(default)]
    pub(crate) discovery: bool,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) hs256_secret: Option<SecretString>,
    #[serde(default)]
    pub(crate) algorithms: Vec<TokenAlgorithm>,
    #[serde(default = "refresh_seconds")]
    pub(crate) jwks_refresh_seconds: u64,
    #[serde(default = "leeway_seconds")]
    pub(crate) leeway_seconds: u64,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) subject_claim: Option<String>,
    /// `None`: the name of the table and a colon.
    #[serde(default)]
    pub(crate) subject_prefix: Option<String>,
    #[serde(default)]
    pub(crate) roles_claim: Names,
    #[serde(default)]
    pub(crate) scopes_claim: Names,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) hasura_claims: Option<String>,
    /// Header and path of the claim.
    #[serde(default)]
    pub(crate) claim_headers: BTreeMap<String, String>,
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "a default has the type of its field"
)]
fn token_type() -> Option<String> {
    Some("at+jwt".to_owned())
}

fn refresh_seconds() -> u64 {
    300
}

fn leeway_seconds() -> u64 {
    5
}

impl Issuer {
    /// Whether anything says where the keys are.
    pub(crate) fn has_keys(&self) -> bool {
        self.jwks_url.is_some() || self.hs256_secret.is_some() || self.discovery
    }
}

impl PartialEq for Issuer {
    fn eq(&self, other: &Self) -> bool {
        fn all(issuer: &Issuer) -> impl PartialEq + '_ {
            // Without `..`, so that a new setting cannot be left out.
            let Issuer {
                issuer,
                audience,
                token_type,
                jwks_url,
                discovery,
                hs256_secret,
                algorithms,
                jwks_refresh_seconds,
                leeway_seconds,
                subject_claim,
                subject_prefix,
                roles_claim,
                scopes_claim,
                hasura_claims,
                claim_headers,
            } = issuer;
            let secret = hs256_secret.as_ref().map(ExposeSecret::expose_secret);
            let rules = (issuer, audience, token_type, leeway_seconds);
            let keys = (
                jwks_url,
                discovery,
                secret,
                algorithms,
                jwks_refresh_seconds,
            );
            let subject = (subject_claim, subject_prefix);
            let claims = (roles_claim, scopes_claim, hasura_claims, claim_headers);
            (rules, keys, subject, claims)
        }
        all(self) == all(other)
    }
}
