//! The provider ends sessions (OpenID Connect Back-Channel Logout 1.0).

use http::{HeaderValue, StatusCode, header};
use quartet_auth::jwt::{JwtError, Statement};
use quartet_common::causes;
use serde_json::{Value, json};

use super::{
    ids::SessionKey,
    login::Login,
    store::{Owner, StoreAway},
};
use crate::reply::Reply;

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// A token may be this old: `exp` may be missing.
const MAX_AGE_SECONDS: i64 = 300;
const MAX_TEXT_BYTES: usize = 255;

#[derive(Debug, thiserror::Error)]
enum BackchannelError {
    #[error("there is no logout_token")]
    NoToken,
    #[error("the logout token is not valid")]
    Token(#[from] JwtError),
    #[error("the logout token breaks a rule: {0}")]
    Rule(&'static str),
    #[error(transparent)]
    Store(#[from] StoreAway),
}

/// Whose sessions end.
struct LogoutToken {
    issuer: String,
    subject: Option<String>,
    sid: Option<String>,
    id: SessionKey,
    /// Until then it has to be remembered.
    until: i64,
}

impl Login {
    /// 200, or 400 with the reason; 503 while it cannot be done.
    pub(super) async fn back_channel_logout(&self, body: &[u8]) -> Reply {
        let ended = self.end_by_token(body).await;
        let (status, body) = match &ended {
            Ok(count) => {
                let login = &*self.config.name;
                tracing::info!(target: "quartet", login, sessions = count, "the provider has ended sessions");
                self.counts.logged_out.inc_by(*count as u64);
                (StatusCode::OK, Vec::new())
            }
            Err(error) => {
                let login = &*self.config.name;
                tracing::warn!(target: "quartet", login, error = causes(error), "a logout token was refused");
                let is_away = matches!(
                    error,
                    BackchannelError::Store(_)
                        | BackchannelError::Token(JwtError::KeysUnavailable(_))
                );
                let status = if is_away {
                    StatusCode::SERVICE_UNAVAILABLE
                } else {
                    StatusCode::BAD_REQUEST
                };
                let body =
                    json!({ "error": "invalid_request", "error_description": error.to_string() });
                (status, serde_json::to_vec(&body).unwrap_or_default())
            }
        };
        Reply::ok(HeaderValue::from_static("application/json"), body)
            .status(status)
            .header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
    }

    async fn end_by_token(&self, body: &[u8]) -> Result<usize, BackchannelError> {
        let mut fields = url::form_urlencoded::parse(body);
        let token = fields.find(|(name, _)| name == "logout_token");
        let (_, token) = token.ok_or(BackchannelError::NoToken)?;
        let verifier = self.verifier.as_ref().filter(|_| !self.config.is_core());
        let verifier = verifier.ok_or(BackchannelError::Rule("this provider has none"))?;
        let claims = verifier.verify_statement(&token, false).await?;
        let token = self.read(&claims)?;
        if !self
            .store
            .is_first(&token.id, token.until, self.now())
            .await?
        {
            return Err(BackchannelError::Rule("jti was used already"));
        }
        let issuer = &token.issuer;
        let owner = match (&token.sid, &token.subject) {
            (Some(sid), _) => Owner::ProviderSession { issuer, sid },
            (None, Some(subject)) => Owner::User { issuer, subject },
            (None, None) => return Err(BackchannelError::Rule("neither sid nor sub")),
        };
        let ended = self.end_of(&owner, &token).await;
        if ended.is_err() {
            // The provider sends it again, which must not be taken for a replay.
            let _ = self.store.forget_name(&token.id).await;
        }
        Ok(ended?)
    }

    async fn end_of(&self, owner: &Owner<'_>, token: &LogoutToken) -> Result<usize, StoreAway> {
        let ended = self.store.remove_of(owner).await?;
        match (&token.sid, &token.subject) {
            // Of a provider that names its session here, but not in ID tokens.
            (Some(_), Some(subject)) if ended == 0 => {
                self.end_without_sid(&token.issuer, subject).await
            }
            _ => Ok(ended),
        }
    }

    /// The user's sessions, unless some of them have a `sid`: then another of theirs is meant.
    async fn end_without_sid(&self, issuer: &str, subject: &str) -> Result<usize, StoreAway> {
        let owner = Owner::User { issuer, subject };
        if self.store.has_sid(&owner, self.now()).await? {
            return Ok(0);
        }
        self.store.remove_of(&owner).await
    }

    /// OpenID Connect Back-Channel Logout 1.0, 2.6.
    fn read(&self, claims: &Statement) -> Result<LogoutToken, BackchannelError> {
        let rule = BackchannelError::Rule;
        let issued = claims.time("iat").ok_or(rule("no iat"))?;
        let leeway = i64::try_from(self.config.provider.leeway_seconds).unwrap_or(0);
        let now = self.now();
        if issued > now + leeway {
            return Err(rule("iat is in the future"));
        }
        if issued < now - MAX_AGE_SECONDS - leeway {
            return Err(rule("iat is too long ago"));
        }
        let events = claims.0.get("events").and_then(Value::as_object);
        if !events.is_some_and(|events| events.get(EVENT).is_some_and(Value::is_object)) {
            return Err(rule("events does not name a logout"));
        }
        if claims.0.contains_key("nonce") {
            return Err(rule("it has a nonce"));
        }
        let text = |name: &str| {
            let text = claims.text(name).map(str::to_owned);
            text.filter(|text| text.len() <= MAX_TEXT_BYTES)
        };
        let id = text("jti").ok_or(rule("no jti"))?;
        Ok(LogoutToken {
            issuer: self.config.provider.issuer.clone(),
            subject: text("sub"),
            sid: text("sid"),
            id: SessionKey::of(id.as_bytes()),
            until: issued + MAX_AGE_SECONDS + 2 * leeway + 1,
        })
    }
}
