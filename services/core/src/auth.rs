//! Authentication: a valid access token of a session that has not ended, and that permits the request.

use axum::extract::FromRequestParts;
use http::request::Parts;
use quartet_auth::{Actor, Permission, TokenKind, bearer_token, jwt::JwtError};
use quartet_common::problem::{Problem, kinds};

use crate::{
    domain::{
        Context, api_keys,
        sessions::{self, CurrentSession, CurrentUser},
    },
    error::Error,
    state::AppState,
    store::{api_keys::ApiKeyId, sessions::SessionId, users::UserId},
};

const READ: Permission = Permission::new("account:read");
const WRITE: Permission = Permission::new("account:write");

/// The session is looked up on every request, so a revoked session and a deleted user get 401 at
/// once, however long the token is still valid.
impl FromRequestParts<AppState> for CurrentSession {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        match named(parts, state).await? {
            (user, Sid::Session(id)) => Ok(sessions::current(&state.ctx, user, id).await?),
            (_, Sid::ApiKey(_)) => Err(Problem::new(&kinds::FORBIDDEN)
                .detail("log in: API keys are not accepted for this operation")),
        }
    }
}

impl FromRequestParts<AppState> for CurrentUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let (user, sid) = named(parts, state).await?;
        Ok(match sid {
            Sid::Session(id) => sessions::current_user(&state.ctx, user, id).await?,
            Sid::ApiKey(id) => api_keys::current_user(&state.ctx, user, id).await?,
        })
    }
}

/// What a token is valid with.
enum Sid {
    Session(SessionId),
    ApiKey(ApiKeyId),
}

/// User and session that a valid access token names, if it permits the request.
async fn named(parts: &Parts, state: &AppState) -> Result<(UserId, Sid), Problem> {
    let actor = actor(bearer_token(&parts.headers)?, &state.ctx).await?;
    actor.require(if parts.method.is_safe() { READ } else { WRITE })?;
    let user_id = actor.subject().as_str().parse().ok();
    let sid = actor.session_id().unwrap_or_default();
    let sid = match actor.token_kind() {
        TokenKind::ApiKey => sid.parse().ok().map(Sid::ApiKey),
        _ => sid.parse().ok().map(Sid::Session),
    };
    Ok(user_id.zip(sid).ok_or(Error::SessionEnded)?)
}

/// Reads the signing keys again when another replica has just created the token's key.
async fn actor(token: &str, ctx: &Context) -> Result<Actor, Problem> {
    let verifier = ctx.keys.verifier();
    match Actor::from_token(verifier, token).await {
        Err(JwtError::UnknownKey) => {
            ctx.keys.reload(&ctx.db).await?;
            Ok(Actor::from_token(verifier, token).await?)
        }
        result => Ok(result?),
    }
}
