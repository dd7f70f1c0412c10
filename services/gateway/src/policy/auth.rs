//! Verifies access tokens as the route requires.

use std::sync::Arc;

use http::{HeaderMap, header};
use quartet_auth::jwt::{JwtError, JwtVerifier};
use quartet_common::problem::Problem;

use super::context::{Flow, Policy, RequestView};
use crate::routing::Auth;

/// A route verifies tokens, and nothing can. A configuration like that is refused; should one be in
/// force all the same, its routes are closed rather than open.
#[derive(Debug, thiserror::Error)]
#[error("there is no verifier of access tokens")]
struct NoVerifier;

#[derive(Debug)]
pub(super) struct AccessTokens {
    /// `None` only if no route verifies tokens.
    verifier: Option<JwtVerifier>,
}

impl AccessTokens {
    pub(super) fn new(verifier: Option<JwtVerifier>) -> Self {
        Self { verifier }
    }

    async fn authorize(&self, request: &mut RequestView<'_>) -> Result<(), JwtError> {
        let rule = request.route.auth;
        if rule == Auth::Public {
            return Ok(());
        }
        let Some(verifier) = &self.verifier else {
            return Err(JwtError::KeysUnavailable(Arc::new(NoVerifier)));
        };
        match bearer(&request.head.headers)? {
            Some(token) => {
                request.context.caller = Some(verifier.verify(token).await?);
                Ok(())
            }
            None if rule == Auth::Required => Err(JwtError::Missing),
            None => Ok(()),
        }
    }
}

impl Policy for AccessTokens {
    async fn on_request(&self, request: &mut RequestView<'_>) -> Flow {
        match self.authorize(request).await {
            Ok(()) => Flow::Continue(()),
            Err(error) => Flow::Break(Box::new(Problem::from(error))),
        }
    }
}

/// The token of `Authorization: Bearer`. A second such header is refused, because another server
/// might read that one instead.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, JwtError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(JwtError::Malformed);
    }
    let text = value.to_str().map_err(|_| JwtError::Malformed)?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            Ok(Some(token.trim_matches(' ')))
        }
        _ => Err(JwtError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_bearer_token_is_accepted() {
        let read = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            bearer(&headers)
                .map(|token| token.map(str::to_owned))
                .map_err(|e| e.to_string())
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["bEaReR  abc "]), Ok(Some("abc".to_owned())));
        assert!(read(&["Basic abc"]).is_err());
        assert!(read(&["abc"]).is_err());
        assert!(read(&["Bearer a", "Bearer b"]).is_err());
    }
}
