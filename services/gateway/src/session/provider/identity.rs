//! Who the user is, as an ID token or `userinfo` says.

use quartet_auth::jwt::{JwtVerifier, Statement};
use serde_json::{Map, Value};

use super::error::ProviderError;
use crate::{config::logins::ProviderConfig, session::record::Identity};

/// Longer texts are refused.
const MAX_TEXT_BYTES: usize = 255;
const MAX_GROUPS: usize = 1_000;
const MAX_GROUP_BYTES: usize = 255;

/// What an ID token must say.
pub(super) struct Expected<'e> {
    /// `None`: that of a refresh, which may have none.
    pub(super) nonce: Option<&'e str>,
    /// Seconds since 1970.
    pub(super) now: i64,
}

/// The claims of an ID token that is for this login (OpenID Connect Core 1.0, 3.1.3.7).
///
/// # Errors
/// [`ProviderError`].
pub(super) async fn verify(
    token: &str,
    expected: &Expected<'_>,
    config: &ProviderConfig,
    verifier: &JwtVerifier,
) -> Result<Statement, ProviderError> {
    let claims = verifier.verify_statement(token, true).await?;
    let issued = claims.time("iat").ok_or(ProviderError::Missing("iat"))?;
    let leeway = i64::try_from(config.leeway_seconds).unwrap_or(0);
    if issued > expected.now.saturating_add(leeway) {
        return Err(ProviderError::Future);
    }
    if let Some(nonce) = expected.nonce
        && claims.text("nonce") != Some(nonce)
    {
        return Err(ProviderError::Mismatch("nonce"));
    }
    let party = claims.text("azp");
    let is_shared = claims
        .0
        .get("aud")
        .and_then(Value::as_array)
        .is_some_and(|all| all.len() > 1);
    if party.is_some_and(|party| party != config.client_id) || (is_shared && party.is_none()) {
        return Err(ProviderError::Mismatch("azp"));
    }
    Ok(claims)
}

/// The user of verified claims.
///
/// # Errors
/// `Missing` without a subject, `LongText` when a text is longer than any header should be.
pub(super) fn read(
    claims: &Map<String, Value>,
    config: &ProviderConfig,
) -> Result<Identity, ProviderError> {
    let text = |name: &str| {
        let text = claims.get(name).and_then(Value::as_str);
        let text = text.filter(|text| !text.is_empty());
        match text {
            Some(text) if text.len() > MAX_TEXT_BYTES => Err(ProviderError::LongText),
            text => Ok(text.map(str::to_owned)),
        }
    };
    Ok(Identity {
        issuer: config.issuer.clone(),
        subject: text("sub")?.ok_or(ProviderError::Missing("sub"))?,
        sid: text("sid")?,
        email: text("email")?,
        // Some providers send a text.
        email_verified: claims.get("email_verified").and_then(|verified| {
            let text = verified.as_str().map(|text| text == "true");
            verified.as_bool().or(text)
        }),
        username: text("preferred_username")?,
        name: text("name")?,
        groups: groups(claims, config)?,
        hosted_domain: text("hd")?,
    })
}

/// What newer claims add: they win. Groups that they name replace the known ones, if it is none too.
pub(super) fn merge(
    identity: &mut Identity,
    newer: Identity,
    claims: &Map<String, Value>,
    config: &ProviderConfig,
) {
    let Identity {
        email,
        email_verified,
        username,
        name,
        groups,
        ..
    } = newer;
    if email.is_some() {
        identity.email = email;
        identity.email_verified = email_verified;
    }
    identity.username = username.or(identity.username.take());
    identity.name = name.or(identity.name.take());
    if group_values(claims, config).next().is_some() {
        identity.groups = groups;
    }
}

/// What the claims with groups have, of those that there are.
fn group_values<'c>(
    claims: &'c Map<String, Value>,
    config: &'c ProviderConfig,
) -> impl Iterator<Item = &'c Value> {
    config.groups_claims.iter().filter_map(|path| {
        let mut parts = path.iter();
        let first = parts.next().and_then(|part| claims.get(part));
        parts.fold(first, |value, part| value?.get(part))
    })
}

fn groups(
    claims: &Map<String, Value>,
    config: &ProviderConfig,
) -> Result<Vec<String>, ProviderError> {
    let mut found = Vec::new();
    for value in group_values(claims, config) {
        let listed = match value {
            Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
            Value::String(text) => vec![text.as_str()],
            _ => Vec::new(),
        };
        found.extend(listed.into_iter().map(str::to_owned));
    }
    found.sort();
    found.dedup();
    // A part of them could be the part that forbids something.
    if found.len() > MAX_GROUPS || found.iter().any(|group| group.len() > MAX_GROUP_BYTES) {
        return Err(ProviderError::LongText);
    }
    Ok(found)
}
