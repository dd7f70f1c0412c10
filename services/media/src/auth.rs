//! Authentication: who acts, and that the token permits it.

use axum::extract::FromRequestParts;
use http::request::Parts;
use quartet_auth::{Actor, Permission};
use quartet_common::problem::Problem;

use crate::state::AppState;

const READ: Permission = Permission::new("media:read");
const WRITE: Permission = Permission::new("media:write");

/// An actor who may read their assets.
pub(crate) struct AssetReader(pub(crate) Actor);

/// An actor who may create, complete and delete their assets.
pub(crate) struct AssetWriter(pub(crate) Actor);

impl FromRequestParts<AppState> for AssetReader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        Ok(Self(actor(parts, state, READ).await?))
    }
}

impl FromRequestParts<AppState> for AssetWriter {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        Ok(Self(actor(parts, state, WRITE).await?))
    }
}

async fn actor(
    parts: &mut Parts,
    state: &AppState,
    permission: Permission,
) -> Result<Actor, Problem> {
    let actor = <Actor as FromRequestParts<AppState>>::from_request_parts(parts, state).await?;
    actor.require(permission)?;
    Ok(actor)
}
