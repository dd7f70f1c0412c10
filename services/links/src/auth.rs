//! Authentication: who acts, and that the token permits the operation.
//!
//! Functions instead of extractors: what an error becomes, such as the body of a GraphQL response or
//! the code of a close frame, depends on the transport.

use async_graphql::parser::types::OperationType;
use http::HeaderMap;
use quartet_auth::{Actor, Permission, bearer_token, jwt::JwtError};
use quartet_common::problem::Problem;

use crate::state::AppState;

const READ: Permission = Permission::new("links:read");
const WRITE: Permission = Permission::new("links:write");

/// The actor whose access token is in the `Authorization` header.
///
/// # Errors
/// When there is no valid token.
pub(crate) async fn actor(headers: &HeaderMap, state: &AppState) -> Result<Actor, JwtError> {
    actor_of_token(bearer_token(headers)?, state).await
}

/// # Errors
/// When the token is not valid.
pub(crate) async fn actor_of_token(token: &str, state: &AppState) -> Result<Actor, JwtError> {
    Actor::from_token(&state.base.verifier, token).await
}

/// # Errors
/// When the token does not permit operations of this kind.
pub(crate) fn require(actor: &Actor, kind: OperationType) -> Result<(), Problem> {
    let permission = match kind {
        OperationType::Query | OperationType::Subscription => READ,
        OperationType::Mutation => WRITE,
    };
    Ok(actor.require(permission)?)
}
