//! Verifies access tokens as the route asks.

use http::{HeaderMap, header};
use quartet_auth::jwt::{JwtError, JwtVerifier};
use quartet_common::problem::Problem;

use super::{Exchange, Flow, Policy};
use crate::config::model;

/// `None` only where no route looks at tokens.
#[derive(Debug)]
pub(crate) struct Auth {
    verifier: Option<JwtVerifier>,
}

impl Auth {
    pub(crate) fn new(verifier: Option<JwtVerifier>) -> Self {
        Self { verifier }
    }

    async fn admit(&self, exchange: &mut Exchange<'_>) -> Result<(), JwtError> {
        let rule = exchange.route.auth;
        let (Some(verifier), model::Auth::Optional | model::Auth::Required) =
            (&self.verifier, rule)
        else {
            return Ok(());
        };
        match bearer(&exchange.head.headers)? {
            Some(token) => {
                exchange.notes.caller = Some(verifier.verify(token).await?);
                Ok(())
            }
            None if rule == model::Auth::Required => Err(JwtError::Missing),
            None => Ok(()),
        }
    }
}

impl Policy for Auth {
    async fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow {
        match self.admit(exchange).await {
            Ok(()) => Flow::Continue(()),
            Err(error) => Flow::Break(Box::new(Problem::from(error))),
        }
    }
}

/// The token of `Authorization: Bearer`. Two such headers are an attempt to be read
/// differently by two readers.
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
    fn only_one_bearer_token_is_read() {
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
