//! Who has logged in, by whatever the provider offers.

use quartet_auth::jwt::JwtVerifier;
use serde_json::{Map, Value};

use super::{
    error::ProviderError,
    github,
    http::ProviderClient,
    identity::{self, Expected},
    metadata::Metadata,
};
use crate::{
    config::{logins::ProviderConfig, model::LoginKind},
    session::record::{Identity, Tokens},
};

/// The user of new tokens. `verifier`: `None` for providers without ID tokens.
///
/// # Errors
/// [`ProviderError`].
pub(crate) async fn identify(
    tokens: &Tokens,
    (nonce, now): (&str, i64),
    (config, metadata, client): (&ProviderConfig, &Metadata, &ProviderClient),
    verifier: Option<&JwtVerifier>,
) -> Result<Identity, ProviderError> {
    let access = tokens.access.as_deref();
    let access = access.ok_or(ProviderError::Missing("access_token"))?;
    let verifier = match (config.kind, verifier) {
        (LoginKind::Github, _) => return github::identify(access, config, client).await,
        (_, Some(verifier)) => verifier,
        (_, None) => return Err(ProviderError::Missing("id_token")),
    };
    let token = tokens
        .id
        .as_deref()
        .ok_or(ProviderError::Missing("id_token"))?;
    let expected = Expected {
        nonce: Some(nonce),
        now,
    };
    let claims = identity::verify(token, &expected, config, verifier).await?;
    let mut user = identity::read(&claims.0, config)?;
    if config.userinfo {
        add_userinfo(&mut user, access, (config, metadata, client)).await?;
    }
    Ok(user)
}

/// The user after a refresh: of its ID token, if there is one, and otherwise the one before.
///
/// # Errors
/// [`ProviderError`]; `Mismatch` when it is another user.
pub(crate) async fn renewed_identity(
    id_token: Option<&str>,
    before: &Identity,
    now: i64,
    config: &ProviderConfig,
    verifier: Option<&JwtVerifier>,
) -> Result<Identity, ProviderError> {
    let (Some(token), Some(verifier)) = (id_token, verifier) else {
        return Ok(before.clone());
    };
    let expected = Expected { nonce: None, now };
    let claims = identity::verify(token, &expected, config, verifier).await?;
    let newer = identity::read(&claims.0, config)?;
    if newer.subject != before.subject {
        return Err(ProviderError::Mismatch("sub"));
    }
    let mut user = before.clone();
    identity::merge(&mut user, newer, &claims.0, config);
    Ok(user)
}

/// # Errors
/// [`ProviderError`]; `Mismatch` when it is about another user (OpenID Connect Core 1.0, 5.3.2).
async fn add_userinfo(
    user: &mut Identity,
    access: &str,
    (config, metadata, client): (&ProviderConfig, &Metadata, &ProviderClient),
) -> Result<(), ProviderError> {
    let url = metadata.userinfo_endpoint.clone();
    let url = url.ok_or(ProviderError::Endpoint("userinfo_endpoint"))?;
    let claims: Map<String, Value> = client.get(url, Some(access)).await?;
    let newer = identity::read(&claims, config)?;
    if newer.subject != user.subject {
        return Err(ProviderError::Mismatch("sub"));
    }
    identity::merge(user, newer, &claims, config);
    Ok(())
}
