//! Who acts: what a verified access token proves, in the words of the services.
//!
//! | part | answers | from |
//! |---|---|---|
//! | subject | who acts | `sub` |
//! | principals | whose rows are within reach: the subject | `sub` |
//! | permissions | what may be done with them | `scope` |
//! | assurance | how the subject was authenticated | `acr`, `amr`, `auth_time` |
//! | client | the program that acts | `client_id`, else `azp` |
//! | token kind | what the token stands for | `sid`, `sub`, `client_id` |
//!
//! Every service builds it from a token that it has verified itself, never from headers of the
//! gateway: those could be forged by anyone who reaches the service. Permissions are checked by
//! [`Actor::require`] alone, and principals by row-level security (`quartet_db::begin_as`).

mod permission;

use std::{fmt, sync::Arc};

use quartet_common::principal::Principal;
use quartet_telemetry as telemetry;

pub use permission::{Forbidden, Permission};

use crate::jwt::{Claims, JwtError, JwtVerifier};

/// Who acts, as proved by a valid access token. Cheap to clone.
#[derive(Clone)]
pub struct Actor {
    claims: Arc<Claims>,
    /// The subject first.
    principals: Arc<[Principal]>,
}

/// What a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A login: the token ends with its session.
    Session,
    /// An API key, which is client and session in one.
    ApiKey,
    /// An OAuth client that acts for a user.
    Client,
    /// An OAuth client that acts for itself (RFC 9068, 2.2: `sub` is the client).
    Service,
    /// Neither session nor client is named.
    Bare,
}

/// How the subject was authenticated, as far as the token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assurance<'a> {
    /// The class of the authentication.
    pub acr: Option<&'a str>,
    /// Its methods, such as `pwd`.
    pub amr: &'a [String],
    /// When it happened, in seconds since 1970.
    pub auth_time: Option<i64>,
}

impl TokenKind {
    /// As the log has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::ApiKey => "api_key",
            Self::Client => "client",
            Self::Service => "service",
            Self::Bare => "bare",
        }
    }
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actor")
            .field("subject", self.subject())
            .field("token_kind", &self.token_kind())
            .field("client_id", &self.client_id())
            .finish_non_exhaustive()
    }
}

impl Actor {
    /// Verifies a token and notes the actor for the access log.
    ///
    /// # Errors
    /// When the token is not accepted.
    pub async fn from_token(verifier: &JwtVerifier, token: &str) -> Result<Self, JwtError> {
        let actor = Self::from_claims(verifier.verify(token).await?)?;
        telemetry::set_caller(telemetry::Caller {
            id: actor.subject().to_string(),
            token_kind: actor.token_kind().as_str(),
            client_id: actor.client_id().map(str::to_owned),
        });
        Ok(actor)
    }

    /// The actor of claims that are verified.
    ///
    /// # Errors
    /// `Malformed` for a subject that cannot own anything.
    pub fn from_claims(claims: Arc<Claims>) -> Result<Self, JwtError> {
        let subject = Principal::parse(&claims.sub).map_err(|_| JwtError::Malformed)?;
        Ok(Self {
            claims,
            principals: Arc::new([subject]),
        })
    }

    /// Who acts: `usr_...` for users of core.
    #[must_use]
    pub fn subject(&self) -> &Principal {
        // Never empty: see `from_claims`.
        &self.principals[0]
    }

    /// Whose rows are within reach, the subject first.
    #[must_use]
    pub fn principals(&self) -> &[Principal] {
        &self.principals
    }

    /// Who owns what this request creates and lists: one of the principals.
    #[must_use]
    pub fn owner(&self) -> &Principal {
        self.subject()
    }

    /// `ses_...` for sessions of core, `key_...` for its API keys.
    #[must_use]
    pub fn session_id(&self) -> Option<&str> {
        self.claims.sid.as_deref()
    }

    /// The program that acts.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        let claims = &self.claims;
        claims.client_id.as_deref().or(claims.azp.as_deref())
    }

    #[must_use]
    pub fn token_kind(&self) -> TokenKind {
        match (&self.claims.sid, self.client_id()) {
            (Some(session), Some(client)) if session == client => TokenKind::ApiKey,
            (Some(_), _) => TokenKind::Session,
            (None, Some(client)) if client == self.claims.sub => TokenKind::Service,
            (None, Some(_)) => TokenKind::Client,
            (None, None) => TokenKind::Bare,
        }
    }

    #[must_use]
    pub fn assurance(&self) -> Assurance<'_> {
        Assurance {
            acr: self.claims.acr.as_deref(),
            amr: &self.claims.amr,
            auth_time: self.claims.auth_time,
        }
    }

    /// When the token expires, in seconds since 1970.
    #[must_use]
    pub fn expires_at(&self) -> i64 {
        self.claims.exp
    }

    /// The only check of permissions.
    ///
    /// # Errors
    /// `Forbidden` when the token does not permit it.
    pub fn require(&self, permission: Permission) -> Result<(), Forbidden> {
        permission::check(self.claims.scope.as_deref(), permission)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn actor(claims: Value) -> Actor {
        let claims = serde_json::from_value(claims).unwrap();
        Actor::from_claims(Arc::new(claims)).unwrap()
    }

    #[test]
    fn the_kind_follows_from_the_claims() {
        for (claims, kind, client) in [
            (
                json!({"sub": "usr_1", "exp": 1, "sid": "ses_1", "client_id": "q"}),
                TokenKind::Session,
                Some("q"),
            ),
            (
                json!({"sub": "usr_1", "exp": 1, "sid": "key_1", "client_id": "key_1"}),
                TokenKind::ApiKey,
                Some("key_1"),
            ),
            (
                json!({"sub": "usr_1", "exp": 1, "azp": "app"}),
                TokenKind::Client,
                Some("app"),
            ),
            (
                json!({"sub": "usr_1", "exp": 1, "client_id": "a", "azp": "b"}),
                TokenKind::Client,
                Some("a"),
            ),
            (
                json!({"sub": "ci", "exp": 1, "client_id": "ci"}),
                TokenKind::Service,
                Some("ci"),
            ),
            (
                json!({"sub": "usr_1", "exp": 1, "email": "a@b.example"}),
                TokenKind::Bare,
                None,
            ),
        ] {
            let actor = actor(claims);
            assert_eq!(
                (actor.token_kind(), actor.client_id()),
                (kind, client),
                "{actor:?}"
            );
            assert_eq!(actor.principals(), [actor.subject().clone()]);
        }
    }

    #[test]
    fn assurance_is_what_the_token_says() {
        let said =
            json!({"sub": "usr_1", "exp": 1, "acr": "1", "amr": ["pwd", "otp"], "auth_time": 7});
        let actor = actor(said);
        let assurance = actor.assurance();
        assert_eq!((assurance.acr, assurance.auth_time), (Some("1"), Some(7)));
        assert_eq!(assurance.amr, ["pwd", "otp"]);
    }

    #[test]
    fn a_subject_that_cannot_own_anything_is_refused() {
        let claims = json!({"sub": "a\u{0}b", "exp": 1});
        let claims = Arc::new(serde_json::from_value(claims).unwrap());
        assert!(matches!(
            Actor::from_claims(claims),
            Err(JwtError::Malformed)
        ));
    }
}
