//! Verifies access tokens as the route requires.

mod api_key;
mod forward;
mod required;
mod token;

use std::{sync::Arc, time::Duration};

use http::HeaderValue;
use quartet_auth::jwt::{Claims, Issuers, JwtError, JwtVerifier, VerifiedClaims};
use quartet_common::problem::Problem;

use self::{
    forward::Forward,
    required::Required,
    token::{Presented, TokenSources},
};
use super::{
    access_end::AccessSpan,
    context::{Flow, PolicyContext, Verdict},
    login_context::{LoginContext, SessionOfRequest},
    verify,
};
use crate::{
    api_keys::ApiKeys,
    config::IssuerConfig,
    request::{RequestFacts, WebSocket},
    revocations::Revocations,
    routing::{Auth, Route, RouteAction},
};

/// A route verifies tokens, and nothing can. A configuration like that is refused; should one be in
/// force nevertheless, its routes are closed rather than open.
#[derive(Debug, thiserror::Error)]
#[error("there is no verifier of access tokens")]
struct NoVerifier;

/// Whether the session of a token has ended is not known.
#[derive(Debug, thiserror::Error)]
#[error("the feed of revoked sessions has not answered for too long")]
struct FeedAway;

/// What the routes of a configuration verify tokens with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AccessParts<'s> {
    pub(crate) issuers: &'s [IssuerConfig],
    /// Of the issuers, in their order.
    pub(crate) verifiers: &'s [JwtVerifier],
    /// `None`: there is no feed.
    pub(crate) sessions: Option<&'s SessionCheck>,
    /// `None`: they are not accepted.
    pub(crate) api_keys: Option<&'s Arc<ApiKeys>>,
}

/// Refuses tokens of sessions that have ended.
#[derive(Clone, Debug)]
pub(crate) struct SessionCheck {
    pub(crate) revocations: Arc<Revocations>,
    /// Tokens are refused when the feed has not answered for this long. `None`: they are accepted.
    pub(crate) denied_after: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct AccessToken {
    /// Without a token, the request is refused.
    is_required: bool,
    /// Another proxy asks about a request of its own.
    verifies: bool,
    /// None: every request is refused.
    issuers: Issuers,
    sources: TokenSources,
    /// `None`: any valid token will do.
    required: Option<Box<Required>>,
    /// By the place of the issuer. `None`: nothing is added to, or taken from, the request.
    forward: Option<Box<[Forward]>>,
    /// With the place of the issuer whose sessions it knows.
    sessions: Option<(usize, SessionCheck)>,
    /// Of the default issuer.
    api_keys: Option<Arc<ApiKeys>>,
}

impl AccessToken {
    pub(super) fn new(route: &Route, parts: AccessParts<'_>) -> Self {
        let access = &route.access;
        let known = access.issuers.iter();
        let verifiers: Option<Vec<_>> = known.map(|&at| parts.verifiers.get(at).cloned()).collect();
        let configs: Vec<_> = access
            .issuers
            .iter()
            .filter_map(|&at| parts.issuers.get(at))
            .collect();
        let default = configs.iter().position(|issuer| issuer.is_default());
        let api_keys = parts.api_keys.filter(|_| default.is_some());
        let forward: Vec<_> = configs
            .iter()
            .map(|issuer| Forward::new(access, issuer))
            .collect();
        Self {
            is_required: route.auth == Auth::Required,
            verifies: route.action == RouteAction::Verify,
            issuers: Issuers::new(verifiers.unwrap_or_default()),
            sources: TokenSources::new(&access.token_from, api_keys.is_some()),
            required: Required::new(access).map(Box::new),
            forward: forward
                .iter()
                .any(|forward| !forward.is_empty())
                .then(|| forward.into()),
            sessions: default.zip(parts.sessions.cloned()),
            api_keys: api_keys.cloned(),
        }
    }

    /// Decides at once about a token that was verified before. A refusal is deferred, so that the
    /// request still counts.
    pub(super) fn on_request<'f>(
        &'f self,
        facts: &RequestFacts<'f>,
        context: &'f mut PolicyContext,
    ) -> Verdict<'f> {
        match &context.login {
            Some(LoginContext::Session(SessionOfRequest {
                token: Some(token), ..
            })) => {
                let token = token.clone();
                return self.on_session(token, facts, context);
            }
            // The user is known, or the request is refused, or asked to log in.
            Some(_) => return Verdict::Now(Flow::Continue),
            None => {}
        }
        let presented = match self.present(facts) {
            Ok(Some(presented)) => presented,
            Ok(None) => return Verdict::Now(Flow::Continue),
            Err(problem) => {
                context.deferred = Some(problem.into());
                return Verdict::Now(Flow::Continue);
            }
        };
        if let Some(keys) = self.api_keys.as_ref().filter(|_| presented.is_api_key()) {
            let facts = *facts;
            let exchanged = self.exchange(keys, presented, facts, context);
            return Verdict::Later(Box::pin(exchanged));
        }
        if let Some(result) = self.issuers.verified(presented.token) {
            return Verdict::Now(self.conclude(result, presented, facts, context));
        }
        let facts = *facts;
        Verdict::Later(Box::pin(async move {
            let result = self.issuers.verify(presented.token).await;
            self.conclude(result, presented, &facts, context)
        }))
    }

    /// The same with the token of a session, which the client does not know.
    fn on_session<'f>(
        &'f self,
        token: HeaderValue,
        facts: &RequestFacts<'f>,
        context: &'f mut PolicyContext,
    ) -> Verdict<'f> {
        if self.issuers.is_empty() {
            let problem = Problem::from(JwtError::KeysUnavailable(Arc::new(NoVerifier)));
            context.deferred = Some(problem.into());
            return Verdict::Now(Flow::Continue);
        }
        let presented = Presented {
            token: token.to_str().unwrap_or_default(),
            only_in_cookie: false,
        };
        if let Some(result) = self.issuers.verified(presented.token) {
            return Verdict::Now(self.conclude(result, presented, facts, context));
        }
        let facts = *facts;
        Verdict::Later(Box::pin(async move {
            let presented = Presented {
                token: token.to_str().unwrap_or_default(),
                only_in_cookie: false,
            };
            let result = self.issuers.verify(presented.token).await;
            self.conclude(result, presented, &facts, context)
        }))
    }

    /// The token of the request. `None`: the route needs none.
    fn present<'f>(&self, facts: &RequestFacts<'f>) -> Result<Option<Presented<'f>>, Problem> {
        if self.issuers.is_empty() {
            return Err(Problem::from(JwtError::KeysUnavailable(Arc::new(
                NoVerifier,
            ))));
        }
        let read = if self.verifies {
            self.sources.read(&verify::asked_about(facts))
        } else {
            self.sources.read(facts)
        };
        match read? {
            None if self.is_required => Err(JwtError::Missing.into()),
            presented => Ok(presented),
        }
    }

    /// Notes the caller.
    fn conclude(
        &self,
        result: Result<VerifiedClaims, JwtError>,
        presented: Presented<'_>,
        facts: &RequestFacts<'_>,
        context: &mut PolicyContext,
    ) -> Flow {
        if let Err(problem) = self.accept(result, presented, facts, context) {
            context.deferred = Some(problem.into());
        }
        Flow::Continue
    }

    /// # Errors
    /// The problem that is the response. A token that is valid, but does not permit the request, names
    /// the caller nevertheless: the request counts as theirs.
    fn accept(
        &self,
        result: Result<VerifiedClaims, JwtError>,
        presented: Presented<'_>,
        facts: &RequestFacts<'_>,
        context: &mut PolicyContext,
    ) -> Result<(), Problem> {
        let (issuer, claims) = result?;
        if let Some((default, sessions)) = &self.sessions
            && *default == issuer
        {
            sessions.check(&claims)?;
        }
        let claims = context.caller.insert(claims);
        if facts.websocket == WebSocket::Handshake {
            let sessions = self.sessions.as_ref();
            let sessions = sessions.filter(|(default, _)| *default == issuer);
            let revocations = sessions.map(|(_, sessions)| &sessions.revocations);
            if let Some(span) = &mut context.access {
                // The session gets further tokens.
                span.add_token(claims, revocations);
            } else {
                let leeway_seconds = self.issuers.leeway_seconds(issuer);
                let span = AccessSpan::new(claims, leeway_seconds, revocations);
                context.access = Some(Box::new(span));
            }
        }
        if let Some(required) = &self.required {
            required.check(claims)?;
        }
        if let Some(forward) = self.forward.as_ref().and_then(|all| all.get(issuer)) {
            forward.apply(claims, presented, facts, &mut context.edits)?;
        }
        Ok(())
    }
}

impl SessionCheck {
    fn check(&self, claims: &Claims) -> Result<(), Problem> {
        let Some(session) = &claims.sid else {
            return Ok(());
        };
        if self.revocations.is_revoked(session) {
            return Err(JwtError::SessionEnded.into());
        }
        let is_unknown = |limit| self.revocations.is_older_than(limit);
        if self.denied_after.is_some_and(is_unknown) {
            return Err(Problem::unavailable(FeedAway));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode, header};
    use proptest::prelude::*;
    use quartet_auth::jwt::{ClaimMapping, IssuerSettings, KeySource};
    use quartet_common::clock::Clock;
    use quartet_testing::Issuer;

    use super::{token::bearer, *};
    use crate::{
        config::load::Sources,
        fuzz,
        reply::GatewayResponse,
        routing::{CookieForward, TokenCookie, TokenSource},
    };

    /// Such a configuration is refused. Should one be in force nevertheless, its routes are closed.
    #[tokio::test]
    async fn without_a_verifier_every_request_is_refused() {
        let headers = HeaderMap::new();
        let facts = RequestFacts::of_test(&headers);
        for rule in ["required", "optional"] {
            let text = format!(
                "shipped_routes = false\n[upstreams.u]\naddresses = [\"u:1\"]\n\
                 [routes.r]\npaths = [\"/*\"]\nupstream = \"u\"\nauth = \"{rule}\"\n"
            );
            let config = Sources::of_test(&text).unwrap();
            let parts = AccessParts {
                issuers: &config.issuers,
                verifiers: &[],
                sessions: None,
                api_keys: None,
            };
            let policy = AccessToken::new(&config.routes.routes()[0], parts);
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

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    thread_local! {
        /// `VALID` in the corpus, and what verifies it.
        static ISSUED: (String, JwtVerifier, Issuers) = {
            let clock = Clock::system();
            let issuer = Issuer::with_secret(clock.clone(), SECRET);
            let mut settings = issuer.settings(([127, 0, 0, 1], 9).into());
            settings.jwks_url = None;
            settings.hs256_secret = Some(SECRET.into());
            let claims = serde_json::json!({ "exp": clock.now().timestamp() + 86_400 });
            let verifier = JwtVerifier::new(&settings, clock).unwrap();
            // Another issuer, whose claims are mapped, with a secret of its own.
            let foreign = IssuerSettings {
                issuer: Some("https://foreign.example".to_owned()),
                keys: KeySource::Secret("fedcba9876543210fedcba9876543210".into()),
                mapping: ClaimMapping {
                    subject_prefix: "foreign:".to_owned(),
                    ..ClaimMapping::default()
                },
                ..verifier.settings().clone()
            };
            let foreign = JwtVerifier::of_issuer(foreign, Clock::system()).unwrap();
            let issuers = Issuers::new(vec![foreign, verifier.clone()]);
            (issuer.token_with("usr_a", claims), verifier, issuers)
        };
    }

    /// No caller is recognized by anything but the token that was issued, byte by byte.
    fn is_the_token(input: &[u8]) -> Result<(), TestCaseError> {
        let (valid, verifier, issuers) = ISSUED.with(Clone::clone);
        let text = input.iter().copied().map(char::from).collect::<String>();
        let text: Vec<u8> = text
            .replace("VALID", &valid)
            .chars()
            .filter_map(|character| u8::try_from(character).ok())
            .collect();
        let Ok(value) = HeaderValue::from_bytes(&text) else {
            return Ok(());
        };
        is_the_token_of_either_place(&value, &valid, &issuers)?;
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

    /// The same with the input as the header and as a cookie, and with several issuers.
    fn is_the_token_of_either_place(
        value: &HeaderValue,
        valid: &str,
        issuers: &Issuers,
    ) -> Result<(), TestCaseError> {
        let cookie = TokenSource::Cookie(TokenCookie {
            name: "t".to_owned(),
            forward: CookieForward::None,
        });
        let sources = TokenSources::new(&[TokenSource::Header, cookie], false);
        for name in [header::AUTHORIZATION, header::COOKIE] {
            let mut headers = HeaderMap::new();
            headers.append(name, value.clone());
            let facts = RequestFacts::of_test(&headers);
            let Ok(Some(presented)) = sources.read(&facts) else {
                continue;
            };
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            let claims = runtime.unwrap().block_on(issuers.verify(presented.token));
            let is_valid = presented.token == valid;
            prop_assert_eq!(claims.is_ok(), is_valid, "{}", presented.token);
            prop_assert!(claims.is_err() || claims.is_ok_and(|(at, _)| at == 1));
        }
        Ok(())
    }

    #[test]
    fn fuzz_tokens() {
        let dictionary = [
            "VALID",
            "t=",
            "t=VALID",
            "; ",
            "eyJpc3MiOiJodHRwczovL2ZvcmVpZ24uZXhhbXBsZSJ9",
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
        let (valid, ..) = ISSUED.with(Clone::clone);
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
