//! The route on which the gateway reads revoked sessions. It is not part of the API: no document names
//! it, and the gateway has no route to it. It is signed as events are.

use axum::{Router, extract::State, routing::post};
use http::HeaderMap;
use quartet_common::problem::{FieldError, Problem};
use quartet_http::extract::{Body, Json, from_json};
use serde::{Deserialize, Serialize};

use super::signed;
use crate::{
    domain::{
        Context,
        revocations::{self, Cursor, Page},
    },
    state::AppState,
    store::revocations::RevokedId,
};

const PATH: &str = "/internal/revocations";
/// Of one response.
const MAX_REVOCATIONS: u16 = 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FeedRequest {
    /// The cursor of the last response; null: from the beginning.
    after: Option<String>,
}

#[derive(Debug, Serialize)]
struct FeedResponse {
    revocations: Vec<RevokedSession>,
    next: String,
    /// Ask again at once.
    more: bool,
}

#[derive(Debug, Serialize)]
struct RevokedSession {
    /// Of a session, or of an API key: the `sid` of its tokens.
    session_id: RevokedId,
    /// In seconds since 1970.
    until: i64,
}

/// `POST /internal/revocations`.
pub(super) fn router(state: &AppState) -> Router {
    let ctx = state.ctx.clone();
    Router::new().route(PATH, post(list_revocations).with_state(ctx))
}

async fn list_revocations(
    State(ctx): State<Context>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Json<FeedResponse>, Problem> {
    signed::verify(&ctx, &headers, &body)?;
    let request: FeedRequest = from_json(&body)?;
    let cursor = request.after.as_deref().map(str::parse::<Cursor>);
    let cursor = cursor.transpose().map_err(|_| {
        let rule = "must be `next` of an earlier response";
        Problem::invalid(vec![FieldError::body("/after", "malformed", rule)])
    })?;
    let page = revocations::read(&ctx, cursor, MAX_REVOCATIONS).await?;
    Ok(Json(page.into()))
}

impl From<Page> for FeedResponse {
    fn from(page: Page) -> Self {
        let revocations = page
            .revocations
            .into_iter()
            .map(|revocation| RevokedSession {
                session_id: revocation.id,
                until: revocation.until.timestamp(),
            });
        Self {
            revocations: revocations.collect(),
            next: page.cursor.to_string(),
            more: page.more,
        }
    }
}
