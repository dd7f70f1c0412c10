//! The route on which the gateway reads revoked sessions. It is not part of the API: no document names
//! it, and the gateway has no route to it. It is signed as events are.

use axum::{Router, extract::State, routing::post};
use http::HeaderMap;
use quartet_common::problem::{FieldError, Problem, kinds};
use quartet_http::extract::{Body, Json, from_json};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        Context,
        revocations::{self, Cursor, Page},
    },
    state::AppState,
    store::sessions::SessionId,
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
    session_id: SessionId,
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
    let Some(signer) = &ctx.signer else {
        let detail = "events.secret is not set";
        return Err(Problem::not_now(&kinds::UNAVAILABLE).detail(detail));
    };
    let verified = signer.verify(&headers, ctx.clock.now(), &body);
    verified.map_err(|error| Problem::unauthorized(&kinds::UNAUTHENTICATED).source(error))?;
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
                session_id: revocation.session_id,
                until: revocation.until.timestamp(),
            });
        Self {
            revocations: revocations.collect(),
            next: page.cursor.to_string(),
            more: page.more,
        }
    }
}
