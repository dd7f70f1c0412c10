//! Server-sent events: the distinct-connections mode of graphql-sse.

use std::{convert::Infallible, pin::Pin, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use http::header;
use quartet_auth::{Caller, jwt::JwtError};
use tokio::time::{Instant, Interval, Sleep, interval_at};

use super::execute::{Answer, Prepared};
use crate::state::AppState;

/// A comment, so that proxies and clients see that somebody is there.
const ALIVE: &str = ":\n\n";
/// With an empty `data`: browsers pass over events that have none.
const COMPLETE: &str = "event: complete\ndata:\n\n";

/// Answers with one `next` event for each result and a `complete` event at the end.
///
/// The stream ends when the token expires or the process stops.
pub(super) fn respond(prepared: Prepared, caller: &Caller, state: &AppState) -> Response {
    let left = caller
        .claims
        .exp
        .saturating_sub(state.clock.now().timestamp());
    let left = Duration::from_secs(u64::try_from(left).unwrap_or(0));
    let pause = Duration::from_secs(state.config.graphql.keep_alive_seconds);
    let run = Box::new(Run {
        results: Box::pin(prepared.stream(state)),
        expiry: Box::pin(tokio::time::sleep(left)),
        ticks: interval_at(Instant::now() + pause, pause),
        state: state.clone(),
    });
    let events = stream::unfold(Phase::Running(run), |phase| async move {
        let (event, next) = phase.step().await?;
        Some((Ok::<String, Infallible>(event), next))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "private, no-store"),
        // Proxies that buffer would hold events back.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(events)).into_response()
}

/// An operation whose results are being sent.
struct Run {
    results: BoxStream<'static, Answer>,
    expiry: Pin<Box<Sleep>>,
    ticks: Interval,
    state: AppState,
}

enum Phase {
    Running(Box<Run>),
    /// Only `complete` is left to say.
    Ending,
    Ended,
}

impl Phase {
    async fn step(self) -> Option<(String, Self)> {
        let mut run = match self {
            Self::Running(run) => run,
            Self::Ending => return Some((COMPLETE.to_owned(), Self::Ended)),
            Self::Ended => return None,
        };
        tokio::select! {
            answer = run.results.next() => Some(match answer {
                Some(answer) => (next(answer), Self::Running(run)),
                None => (COMPLETE.to_owned(), Self::Ended),
            }),
            _ = run.ticks.tick() => Some((ALIVE.to_owned(), Self::Running(run))),
            () = &mut run.expiry => {
                let answer = Answer::problem(&JwtError::Expired.into(), &run.state);
                Some((next(answer), Self::Ending))
            }
            () = run.state.shutdown.cancelled() => Some((COMPLETE.to_owned(), Self::Ended)),
        }
    }
}

/// JSON on one line: line ends within texts are escaped.
fn next(answer: Answer) -> String {
    format!("event: next\ndata: {}\n\n", answer.into_json())
}
