//! Authentication: the owner of every row that a request may touch.

use axum::extract::FromRequestParts;
use http::request::Parts;
use quartet_auth::Caller;
use quartet_common::problem::Problem;

use crate::{state::AppState, store::Owner};

impl FromRequestParts<AppState> for Owner {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let caller =
            <Caller as FromRequestParts<AppState>>::from_request_parts(parts, state).await?;
        Ok(Self::new(caller.subject()))
    }
}
