//! The actor of a request, from its bearer token.

use axum_core::extract::{FromRef, FromRequestParts, OptionalFromRequestParts};
use http::{HeaderMap, header, request::Parts};

use quartet_common::problem::Problem;

use crate::{
    Actor,
    jwt::{JwtError, JwtVerifier},
};

/// The token of `Authorization: Bearer ...` (RFC 6750, 2.1). The scheme is case-insensitive.
///
/// # Errors
/// `Missing` without the header, `NoBearer` with another scheme, no token, or two headers.
pub fn bearer_token(headers: &HeaderMap) -> Result<&str, JwtError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(JwtError::Missing)?;
    if values.next().is_some() {
        return Err(JwtError::NoBearer);
    }
    let text = value.to_str().map_err(|_| JwtError::NoBearer)?;
    let (scheme, token) = text.split_once(' ').ok_or(JwtError::NoBearer)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
        return Err(JwtError::NoBearer);
    }
    Ok(token.trim())
}

/// Without a valid token, the extractor rejects with 401.
impl<S> FromRequestParts<S> for Actor
where
    S: Send + Sync,
    JwtVerifier: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let token = bearer_token(&parts.headers)?;
        Ok(Self::from_token(&JwtVerifier::from_ref(state), token).await?)
    }
}

/// `None` without a token; an invalid one is rejected.
impl<S> OptionalFromRequestParts<S> for Actor
where
    S: Send + Sync,
    JwtVerifier: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Problem> {
        match bearer_token(&parts.headers) {
            Err(JwtError::Missing) => Ok(None),
            Err(error) => Err(error.into()),
            Ok(token) => Ok(Some(
                Self::from_token(&JwtVerifier::from_ref(state), token).await?,
            )),
        }
    }
}
