//! Server-sent events: the distinct-connections mode of graphql-sse.

use std::{convert::Infallible, time::Duration};

use axum::response::{
    IntoResponse, Response, Sse,
    sse::{Event, KeepAlive},
};
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderValue, header};
use quartet_common::{auth::Caller, jwt::JwtError};

use super::execute::{Answer, Prepared};
use crate::state::AppState;

/// Answers with one `next` event for each result and a `complete` event at the end.
///
/// The stream ends when the token expires or the process stops.
pub(super) fn respond(prepared: Prepared, caller: &Caller, state: &AppState) -> Response {
    let left = caller
        .claims
        .exp
        .saturating_sub(state.clock.now().timestamp());
    let left = Duration::from_secs(u64::try_from(left).unwrap_or(0));
    let shutdown = state.shutdown.clone().cancelled_owned();
    let expired = {
        let state = state.clone();
        async move {
            tokio::time::sleep(left).await;
            Answer::problem(&JwtError::Expired.into(), &state)
        }
    };
    let results = prepared
        .stream(state)
        .take_until(shutdown)
        .map(Some)
        .chain(stream::iter([None]));
    let expiry = stream::once(expired).flat_map(|answer| stream::iter([Some(answer), None]));
    // Whichever says first that there is nothing more.
    let events = stream::select(results, expiry)
        .scan(false, |ended, answer| {
            let before = std::mem::replace(ended, answer.is_none());
            std::future::ready((!before).then_some(answer))
        })
        .map(event);
    let seconds = state.config.graphql.keep_alive_seconds;
    with_headers(events, Duration::from_secs(seconds))
}

fn with_headers<S>(events: S, pause: Duration) -> Response
where
    S: Stream<Item = Result<Event, Infallible>> + Send + 'static,
{
    let mut response = Sse::new(events)
        .keep_alive(KeepAlive::new().interval(pause))
        .into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-store"),
    );
    // Proxies that buffer would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn event(answer: Option<Answer>) -> Result<Event, Infallible> {
    Ok(match answer {
        Some(answer) => Event::default()
            .event("next")
            .data(answer.into_json().to_string()),
        None => Event::default().event("complete").data(""),
    })
}
