//! A page that has logged in at core exchanges its tokens for a session, so that no script can read them.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use quartet_auth::jwt::JwtError;
use quartet_common::problem::{FieldError, Problem};
use serde::Deserialize;

use super::{
    live::Session,
    login::Login,
    record::{Identity, Tokens},
    store::StoreAway,
};
use crate::{
    error,
    reply::Reply,
    request::{Headers, RequestFacts},
};

const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Body of `POST /auth/session`: what core has answered to the login.
#[derive(Deserialize)]
struct TokenPair {
    access_token: String,
    #[serde(default)]
    refresh_token: Option<String>,
}

impl Login {
    /// 201 with the session and its cookie.
    ///
    /// # Errors
    /// The problem that is the response.
    pub(super) async fn exchange(
        self: &Arc<Self>,
        facts: &RequestFacts<'_>,
        body: &[u8],
    ) -> Result<Reply, Problem> {
        // Otherwise another site could log its visitors in as someone else.
        if !facts.is_same_origin() {
            return Err(error::cross_site_request());
        }
        check_media_type(facts.headers)?;
        let pair = read(body)?;
        let verifier = self.verifier.as_ref();
        let verifier = verifier.ok_or(JwtError::Missing)?;
        let claims = verifier.verify(&pair.access_token).await?;
        if claims
            .sid
            .as_deref()
            .is_some_and(|sid| self.revocations.is_revoked(sid))
        {
            return Err(JwtError::SessionEnded.into());
        }
        let identity = Identity {
            issuer: claims.iss.clone().unwrap_or_default(),
            subject: claims.sub.clone(),
            sid: claims.sid.clone(),
            email: claims.email.clone(),
            ..Identity::default()
        };
        // Without a refresh token, nothing outlives the access token.
        let ends_at = pair.refresh_token.is_none().then_some(claims.exp);
        let tokens = Tokens {
            access: Some(pair.access_token),
            expires_at: Some(claims.exp),
            refresh: pair.refresh_token,
            id: None,
        };
        let opened = self
            .open_session(identity, tokens, ends_at, facts.headers)
            .await;
        let (session, cookie) = opened.map_err(super::LoginFailure::into_problem)?;
        self.counts.succeeded.inc();
        let reply = self.describe(&session).status(StatusCode::CREATED);
        Ok(reply.header(header::SET_COOKIE, cookie))
    }

    /// The session for the page itself.
    pub(super) fn describe(&self, session: &Session) -> Reply {
        let identity = &session.record.identity;
        let idle_seconds = i64::try_from(self.config.idle.as_secs()).unwrap_or(i64::MAX);
        let body = serde_json::json!({
            "user": identity.subject,
            "email": identity.email,
            "name": identity.name,
            "username": identity.username,
            "groups": identity.groups,
            "created_at": timestamp(session.record.created_at),
            "ends_at": timestamp(session.record.ends_at),
            "idle_ends_at": timestamp(session.idle_until(idle_seconds).min(session.record.ends_at)),
            "csrf_token": session.record.csrf.0,
        });
        json(&body)
    }

    /// The session that a page asks for. It is not used by that: a page that asks again and again would keep
    /// it alive without anyone there.
    ///
    /// # Errors
    /// 401 without a session, 503 when the store does not answer.
    pub(super) async fn current(&self, headers: &dyn Headers) -> Result<Arc<Session>, Problem> {
        let stored = self.stored(headers).await.map_err(unavailable)?;
        let session = stored.filter(|session| !self.is_revoked(session));
        session.ok_or_else(error::login_required)
    }
}

pub(super) fn unavailable(away: StoreAway) -> Problem {
    super::LoginFailure::from(away).into_problem()
}

/// Never stored.
pub(super) fn json(body: &serde_json::Value) -> Reply {
    let body = serde_json::to_vec(body).unwrap_or_default();
    Reply::ok(HeaderValue::from_static("application/json"), body)
        .header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

fn timestamp(seconds: i64) -> Option<String> {
    let time = chrono::DateTime::from_timestamp(seconds, 0)?;
    Some(time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
}

/// Forms of other sites cannot have this type.
fn check_media_type(headers: &dyn Headers) -> Result<(), Problem> {
    let value = headers.first(&header::CONTENT_TYPE).unwrap_or_default();
    let kind = value.split(|&byte| byte == b';').next().unwrap_or_default();
    if kind.trim_ascii().eq_ignore_ascii_case(b"application/json") {
        return Ok(());
    }
    Err(Problem::new(
        &quartet_common::problem::kinds::UNSUPPORTED_MEDIA_TYPE,
    ))
}

fn read(body: &[u8]) -> Result<TokenPair, Problem> {
    let invalid = |at: &'static str, rule: &str| {
        Problem::invalid(vec![FieldError::body(at, "invalid_value", rule)])
    };
    // The text of the error could repeat a token.
    let pair: TokenPair = serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => invalid("", "must have the text access_token"),
        _ => error::malformed_json(error.line(), error.column()),
    })?;
    let is_short = |token: &String| !token.is_empty() && token.len() <= MAX_TOKEN_BYTES;
    if !is_short(&pair.access_token) {
        return Err(invalid("/access_token", "must be an access token"));
    }
    if pair
        .refresh_token
        .as_ref()
        .is_some_and(|token| !is_short(token))
    {
        return Err(invalid("/refresh_token", "must be a refresh token"));
    }
    Ok(pair)
}
