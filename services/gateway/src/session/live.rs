//! A session as requests use it: what they need of it is made once.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use http::HeaderValue;
use quartet_auth::jwt::{Claims, header_text};
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

use super::{ids::SessionKey, record::Record};

/// A session that has not ended.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) key: SessionKey,
    pub(crate) record: Record,
    /// Names the user to limits, balancing and the upstream.
    pub(crate) claims: Arc<Claims>,
    pub(crate) user: Option<HeaderValue>,
    pub(crate) email: Option<HeaderValue>,
    pub(crate) groups: Option<HeaderValue>,
    pub(crate) name: Option<HeaderValue>,
    /// The access token as it is, and with its scheme.
    pub(crate) token: Option<HeaderValue>,
    pub(crate) bearer: Option<HeaderValue>,
    shared: Arc<SharedState>,
}

/// What stays when the tokens are replaced.
#[derive(Debug)]
struct SharedState {
    seen_at: AtomicI64,
    /// When a refresh failed last, in seconds since 1970.
    failed_at: AtomicI64,
    /// Who has it, refreshes.
    refresh: tokio::sync::Mutex<()>,
}

impl Session {
    /// `login`: its name, which is a part of the user's.
    pub(super) fn new(key: SessionKey, login: &str, record: Record, seen_at: i64) -> Self {
        let shared = SharedState {
            seen_at: AtomicI64::new(seen_at),
            failed_at: AtomicI64::new(i64::MIN),
            refresh: tokio::sync::Mutex::default(),
        };
        Self::with(key, claims(login, &record), record, Arc::new(shared))
    }

    /// The same session with other tokens.
    pub(super) fn renewed(&self, login: &str, record: Record) -> Self {
        let claims = claims(login, &record);
        Self::with(self.key, claims, record, Arc::clone(&self.shared))
    }

    fn with(key: SessionKey, claims: Claims, record: Record, shared: Arc<SharedState>) -> Self {
        let identity = &record.identity;
        let text = |text: Option<&String>| header_text(&json!(text?));
        let groups = identity
            .groups
            .iter()
            .map(|group| Value::from(group.as_str()));
        let token = record.tokens.access.as_deref();
        let secret = |text: String| {
            let mut value = HeaderValue::try_from(text).ok()?;
            value.set_sensitive(true);
            Some(value)
        };
        Self {
            key,
            claims: Arc::new(claims),
            user: text(Some(&identity.subject)),
            email: text(identity.email.as_ref()),
            groups: header_text(&Value::Array(groups.collect())),
            name: text(identity.username.as_ref().or(identity.name.as_ref())),
            token: token.and_then(|token| secret(token.to_owned())),
            bearer: token.and_then(|token| secret(format!("Bearer {token}"))),
            record,
            shared,
        }
    }

    /// Whether it may be used at this time, in seconds since 1970.
    pub(super) fn is_alive(&self, now: i64, idle_seconds: i64) -> bool {
        now < self.record.ends_at && now < self.idle_until(idle_seconds)
    }

    pub(super) fn idle_until(&self, idle_seconds: i64) -> i64 {
        self.seen_at().saturating_add(idle_seconds)
    }

    pub(crate) fn seen_at(&self) -> i64 {
        self.shared.seen_at.load(Ordering::Relaxed)
    }

    /// Notes that it was used. The previous time.
    pub(crate) fn see(&self, now: i64) -> i64 {
        let before = self.seen_at();
        if now > before {
            // Written once a second at most: other threads read it too.
            self.shared.seen_at.store(now, Ordering::Relaxed);
        }
        before
    }

    pub(super) fn failed_at(&self) -> i64 {
        self.shared.failed_at.load(Ordering::Relaxed)
    }

    pub(super) fn note_failure(&self, now: i64) {
        self.shared.failed_at.store(now, Ordering::Relaxed);
    }

    pub(super) fn refresh_lock(&self) -> &tokio::sync::Mutex<()> {
        &self.shared.refresh
    }

    /// Whether the access token has expired, or will within this time.
    pub(super) fn expires_within(&self, now: i64, seconds: i64) -> bool {
        let expires_at = self.record.tokens.expires_at;
        expires_at.is_some_and(|at| at <= now.saturating_add(seconds))
    }

    /// Whether a page has sent the token that it was given.
    pub(crate) fn has_csrf_token(&self, sent: &[u8]) -> bool {
        self.record.csrf.0.as_bytes().ct_eq(sent).into()
    }
}

/// The user, with the name of the login in front: another provider may have a user of the same name.
fn claims(login: &str, record: &Record) -> Claims {
    let identity = &record.identity;
    Claims {
        sub: format!("{login}:{}", identity.subject),
        exp: record.ends_at,
        nbf: None,
        iat: Some(record.created_at),
        iss: Some(identity.issuer.clone()),
        sid: None,
        email: identity.email.clone(),
        client_id: None,
        azp: None,
        scope: None,
        acr: None,
        amr: Vec::new(),
        auth_time: None,
        mapped: quartet_auth::jwt::MappedClaims::default(),
    }
}
