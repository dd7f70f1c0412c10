//! The route that receives events. It is not part of the API: no document names it.

use axum::{Router, extract::State, routing::post};
use http::{HeaderMap, header};
use quartet_common::problem::{Problem, kinds};
use quartet_http::extract::{Body, Json, from_json};

use super::{Inbox, PATH, Receipt};
use crate::event::{BATCH_TYPE, Event, SINGLE_TYPE};

impl Inbox {
    /// `POST /internal/events`: a signed batch of `CloudEvents`, or one of them.
    pub fn router(&self) -> Router {
        Router::new().route(PATH, post(receive).with_state(self.clone()))
    }
}

async fn receive(
    State(inbox): State<Inbox>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Json<Receipt>, Problem> {
    let Some(signer) = &inbox.0.signer else {
        let detail = "events.secret is not set";
        return Err(Problem::not_now(&kinds::UNAVAILABLE).detail(detail));
    };
    let verified = signer.verify(&headers, inbox.0.clock.now(), &body);
    verified.map_err(|error| Problem::unauthorized(&kinds::UNAUTHENTICATED).source(error))?;
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let events = match kind.split(';').next().unwrap_or_default().trim() {
        BATCH_TYPE => from_json::<Vec<Event>>(&body)?,
        SINGLE_TYPE => vec![from_json::<Event>(&body)?],
        _ => return Err(Problem::new(&kinds::UNSUPPORTED_MEDIA_TYPE)),
    };
    let received = inbox.receive(&events).await;
    received.map(Json).map_err(quartet_db::problem)
}
