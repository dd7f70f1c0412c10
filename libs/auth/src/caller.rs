//! Who calls: the bearer token, verified here. Identity headers are never trusted.

use std::sync::Arc;

use axum_core::extract::{FromRef, FromRequestParts, OptionalFromRequestParts};
use http::{HeaderMap, header, request::Parts};

use quartet_common::problem::Problem;
use quartet_telemetry as telemetry;

use crate::jwt::{Claims, JwtError, JwtVerifier};

/// The verified caller. Asking for it is the check: without a valid token the answer is 401.
#[derive(Clone, Debug)]
pub struct Caller {
    pub claims: Arc<Claims>,
}

impl Caller {
    /// The token's `sub`: `usr_...` for our own users.
    pub fn subject(&self) -> &str {
        &self.claims.sub
    }

    /// The token's `sid`: `ses_...` for our own sessions.
    pub fn session_id(&self) -> Option<&str> {
        self.claims.sid.as_deref()
    }

    /// Verifies a token that came by another way than the header, such as a WebSocket message.
    ///
    /// # Errors
    /// Why the token is not accepted.
    pub async fn from_token(verifier: &JwtVerifier, token: &str) -> Result<Self, JwtError> {
        let claims = verifier.verify(token).await?;
        telemetry::set_caller(&claims.sub);
        Ok(Self { claims })
    }
}

/// The token of `Authorization: Bearer ...` (RFC 6750, 2.1). The scheme's case does not matter.
///
/// # Errors
/// `Missing` without the header, `Malformed` with another scheme or two headers.
pub fn bearer_token(headers: &HeaderMap) -> Result<&str, JwtError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(JwtError::Missing)?;
    if values.next().is_some() {
        return Err(JwtError::Malformed);
    }
    let text = value.to_str().map_err(|_| JwtError::Malformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(JwtError::Malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
        return Err(JwtError::Malformed);
    }
    Ok(token.trim())
}

impl<S> FromRequestParts<S> for Caller
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

/// No token is fine; a wrong one is not.
impl<S> OptionalFromRequestParts<S> for Caller
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
