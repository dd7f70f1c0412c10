//! Authentication: a valid access token of a session that has not ended.

use axum::extract::FromRequestParts;
use http::request::Parts;
use quartet_auth::{Caller, bearer_token, jwt::JwtError};
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

/// User and session that a valid access token names.
async fn named(parts: &Parts, state: &AppState) -> Result<(UserId, SessionId), Problem> {
    let caller = caller(bearer_token(&parts.headers)?, &state.ctx).await?;
    let user_id = caller.subject().parse().ok();
    let session_id = caller.session_id().and_then(|id| id.parse().ok());
    Ok(user_id.zip(session_id).ok_or(Error::SessionEnded)?)
}

/// Reads the signing keys again when another replica has just created the token's key.
async fn caller(token: &str, ctx: &Context) -> Result<Caller, Problem> {
    let verifier = ctx.keys.verifier();
    match Caller::from_token(verifier, token).await {
        Err(JwtError::UnknownKey) => {
            ctx.keys.reload(&ctx.db).await?;
            Ok(Caller::from_token(verifier, token).await?)
        }
        result => Ok(result?),
    }
}
