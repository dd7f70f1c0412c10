//! Who owns what a request touches.

use axum::extract::FromRequestParts;
use http::request::Parts;
use quartet_auth::Caller;
use quartet_common::problem::Problem;

use crate::state::AppState;

/// The subject of the caller's verified token: owner of every row that the request may touch.
#[derive(Clone, Debug)]
pub(crate) struct Owner(pub(crate) String);

impl FromRequestParts<AppState> for Owner {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let caller =
            <Caller as FromRequestParts<AppState>>::from_request_parts(parts, state).await?;
        Ok(Self(caller.subject().to_owned()))
    }
}
