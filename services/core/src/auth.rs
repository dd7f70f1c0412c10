//! Authentication: a valid access token of a session that has not ended, and that permits the request.

use axum::extract::FromRequestParts;
use http::request::Parts;
use quartet_auth::{Actor, Permission, bearer_token, jwt::JwtError};
use quartet_common::problem::Problem;

use crate::{
    domain::{
        Context,
        sessions::{self, CurrentSession, CurrentUser},
    },
    error::Error,
    state::AppState,
    store::{sessions::SessionId, users::UserId},
};

const READ: Permission = Permission::new("account:read");
const WRITE: Permission = Permission::new("account:write");

/// The session is looked up on every request, so a revoked session and a deleted user get 401 at
/// once, however long the token is still valid.
impl FromRequestParts<AppState> for CurrentSession {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let (user_id, session_id) = named(parts, state).await?;
        Ok(sessions::current(&state.ctx, user_id, session_id).await?)
    }
}

impl FromRequestParts<AppState> for CurrentUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let (user_id, session_id) = named(parts, state).await?;
        Ok(sessions::current_user(&state.ctx, user_id, session_id).await?)
    }
}

/// User and session that a valid access token names, if it permits the request.
async fn named(parts: &Parts, state: &AppState) -> Result<(UserId, SessionId), Problem> {
    let actor = actor(bearer_token(&parts.headers)?, &state.ctx).await?;
    actor.require(if parts.method.is_safe() { READ } else { WRITE })?;
    let user_id = actor.subject().as_str().parse().ok();
    let session_id = actor.session_id().and_then(|id| id.parse().ok());
    Ok(user_id.zip(session_id).ok_or(Error::SessionEnded)?)
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
