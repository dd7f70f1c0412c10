//! Who calls: the token is verified, and its session is looked up each time.

use axum::extract::FromRequestParts;
use chrono::{DateTime, Utc};
use http::request::Parts;
use quartet_auth::{Caller, bearer_token, jwt::JwtError};
use quartet_common::problem::Problem;

use crate::{
    domain::desk,
    error::Error,
    state::AppState,
    store::{
        sessions::{self, SessionId},
        users::UserId,
    },
};

/// The signed-in caller. A revoked session, a deleted user: 401 at once, however long the token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignedIn {
    pub(crate) user: UserId,
    pub(crate) session: SessionId,
    pub(crate) since: DateTime<Utc>,
}

impl FromRequestParts<AppState> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let caller = caller(bearer_token(&parts.headers)?, state).await?;
        let ended = || Problem::from(Error::SessionEnded);
        let user: UserId = caller.subject().parse().map_err(|_| ended())?;
        let session = caller
            .session_id()
            .and_then(|id| id.parse().ok())
            .ok_or_else(ended)?;
        let mut db = state.pool.acquire().await.map_err(quartet_db::problem)?;
        let since = sessions::live_since(&mut db, user, session, desk::now(&state.clock))
            .await
            .map_err(quartet_db::problem)?;
        since
            .map(|since| Self {
                user,
                session,
                since,
            })
            .ok_or_else(ended)
    }
}

/// A key that another replica has just made is read at once.
async fn caller(token: &str, state: &AppState) -> Result<Caller, Problem> {
    let verifier = state.keys.verifier();
    match Caller::from_token(verifier, token).await {
        Err(JwtError::UnknownKey) => {
            state.keys.reload(&state.pool).await?;
            Ok(Caller::from_token(verifier, token).await?)
        }
        result => Ok(result?),
    }
}
