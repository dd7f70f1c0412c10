//! Verifies access tokens as the route requires.

use std::sync::Arc;

use http::header;
use quartet_auth::jwt::{Claims, JwtError, JwtVerifier};
use quartet_common::problem::Problem;

use super::context::{Flow, PolicyContext, Verdict};
use crate::{
    request::{Headers, RequestFacts, is_visible},
    routing::Auth,
};

/// A route verifies tokens, and nothing can. A configuration like that is refused; should one be in
/// force nevertheless, its routes are closed rather than open.
#[derive(Debug, thiserror::Error)]
#[error("there is no verifier of access tokens")]
struct NoVerifier;

#[derive(Debug)]
pub(super) struct AccessToken {
    /// Without a token, the request is refused.
    required: bool,
    /// `None`: every request is refused.
    verifier: Option<JwtVerifier>,
}

impl AccessToken {
    pub(super) fn new(rule: Auth, verifier: Option<JwtVerifier>) -> Self {
        Self {
            required: rule == Auth::Required,
            verifier,
        }
    }

    /// Decides at once about a token that was verified before. A refusal is deferred, so that the
    /// request still counts.
    pub(super) fn on_request<'f>(
        &'f self,
        facts: &RequestFacts<'f>,
        context: &'f mut PolicyContext,
    ) -> Verdict<'f> {
        let result = match (&self.verifier, bearer(facts.headers)) {
            (None, _) => Err(JwtError::KeysUnavailable(Arc::new(NoVerifier))),
            (_, Err(error)) => Err(error),
            (_, Ok(None)) if self.required => Err(JwtError::Missing),
            (_, Ok(None)) => return Verdict::Now(Flow::Continue),
            (Some(verifier), Ok(Some(token))) => match verifier.verified(token) {
                Some(result) => result,
                None => {
                    return Verdict::Later(Box::pin(async move {
                        conclude(verifier.verify(token).await, context)
                    }));
                }
            },
        };
        Verdict::Now(conclude(result, context))
    }
}

/// Notes the caller.
fn conclude(result: Result<Arc<Claims>, JwtError>, context: &mut PolicyContext) -> Flow {
    match result {
        Ok(claims) => context.caller = Some(claims),
        Err(error) => context.deferred = Some(Problem::from(error).into()),
    }
    Flow::Continue
}

/// The token of `Authorization: Bearer`. A second such header is refused, because another server
/// might read that one instead.
fn bearer(headers: &dyn Headers) -> Result<Option<&str>, JwtError> {
    let Some(value) = headers.first(&header::AUTHORIZATION) else {
        return Ok(None);
    };
    if headers.nth(&header::AUTHORIZATION, 1).is_some() {
        return Err(JwtError::NoBearer);
    }
    // A header that only a part of all servers would read as text.
    let is_text = is_visible(value) && memchr::memchr(b'\t', value).is_none();
    let text = std::str::from_utf8(value).ok().filter(|_| is_text);
    let (scheme, token) = text
        .and_then(|text| text.split_once(' '))
        .ok_or(JwtError::NoBearer)?;
    let token = token.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(JwtError::NoBearer);
    }
    Ok(Some(token))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use http::{HeaderMap, HeaderValue, Method, StatusCode};
    use proptest::prelude::*;
    use quartet_common::clock::Clock;
    use quartet_testing::Issuer;

    use super::*;
    use crate::{fuzz, reply::GatewayResponse, request::WebSocket, routing::PathPattern};

    /// Such a configuration is refused. Should one be in force nevertheless, its routes are closed.
    #[tokio::test]
    async fn without_a_verifier_every_request_is_refused() {
        let headers = HeaderMap::new();
        let facts = RequestFacts {
            method: &Method::GET,
            path: "/",
            client_ip: Ipv4Addr::LOCALHOST.into(),
            websocket: WebSocket::No,
            headers: &headers,
            captures: &PathPattern::parse("/*").unwrap(),
        };
        for rule in [Auth::Required, Auth::Optional] {
            let policy = AccessToken::new(rule, None);
            let mut context = PolicyContext::default();
            let verdict = policy.on_request(&facts, &mut context);
            assert!(matches!(verdict, Verdict::Now(Flow::Continue)));
            drop(verdict);
            let Some(GatewayResponse::Problem(problem)) = context.deferred.as_deref() else {
                panic!("must be refused");
            };
            assert_eq!(problem.kind.status, StatusCode::SERVICE_UNAVAILABLE);
        }
    }

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

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    thread_local! {
        /// `VALID` in the corpus, and what verifies it.
        static ISSUED: (String, JwtVerifier) = {
            let clock = Clock::system();
            let issuer = Issuer::with_secret(clock.clone(), SECRET);
            let mut settings = issuer.settings(([127, 0, 0, 1], 9).into());
            settings.jwks_url = None;
            settings.hs256_secret = Some(SECRET.into());
            let claims = serde_json::json!({ "exp": clock.now().timestamp() + 86_400 });
            let verifier = JwtVerifier::new(&settings, clock).unwrap();
            (issuer.token_with("usr_a", claims), verifier)
        };
    }

    /// No caller is recognized by anything but the token that was issued, byte by byte.
    fn is_the_token(input: &[u8]) -> Result<(), TestCaseError> {
        let (valid, verifier) = ISSUED.with(Clone::clone);
        let text = input.iter().copied().map(char::from).collect::<String>();
        let text: Vec<u8> = text
            .replace("VALID", &valid)
            .chars()
            .filter_map(|character| u8::try_from(character).ok())
            .collect();
        let Ok(value) = HeaderValue::from_bytes(&text) else {
            return Ok(());
        };
        let mut headers = HeaderMap::new();
        headers.append(header::AUTHORIZATION, value);
        let Ok(Some(token)) = bearer(&headers) else {
            return Ok(());
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let claims = runtime.unwrap().block_on(verifier.verify(token));
        prop_assert_eq!(claims.is_ok(), token == valid, "{}", token);
        if let Ok(claims) = claims {
            prop_assert_eq!(claims.sub.as_str(), "usr_a");
        }
        Ok(())
    }

    #[test]
    fn fuzz_tokens() {
        let dictionary = [
            "VALID",
            "Bearer ",
            "bearer",
            " ",
            "\t",
            ".",
            ",",
            "=",
            "==",
            "-",
            "_",
            "+",
            "/",
            "e30",
            "eyJ",
            "eyJhbGciOiJub25lIn0",
            "A",
            "a",
            "0",
            "\u{0}",
            "%20",
            "\"",
        ];
        fuzz::run("tokens", &dictionary, is_the_token);
    }

    /// The token in parts, so that changes fall into it.
    #[test]
    fn no_change_of_a_token_is_accepted() {
        let (valid, _) = ISSUED.with(Clone::clone);
        for at in 0..valid.len() {
            for byte in [b'A', b'B', b'.', b'=', b'-'] {
                let mut changed = valid.clone().into_bytes();
                changed[at] = byte;
                is_the_token(&[b"Bearer ", &changed[..]].concat()).unwrap();
            }
            is_the_token(format!("Bearer {}", &valid[..at]).as_bytes()).unwrap();
        }
    }
}
