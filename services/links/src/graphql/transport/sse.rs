//! Server-sent events, in the distinct connections mode of graphql-sse: one request, one operation.
//!
//! ```text
//! Running --response--> "next"      --> Running
//!         --keep-alive-> comment    --> Running
//!         --end or shutdown-> "complete" --> Ended
//!         --token expired-> "next" with the error --> Completing --> "complete" --> Ended
//! ```
//!
//! A subscription runs in a task of its own, which is at most two responses ahead of the connection:
//! the turn of an event must not wait for a client (see `schema::turns`).
//!
//! Dropping the stream (the client disconnects) drops the operation. Without the keep-alive, proxies
//! would close idle streams and a lost client would be noticed at the next click only.

use std::{pin::Pin, sync::Arc, time::Duration};

use async_graphql::parser::types::OperationType;
use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use http::header;
use quartet_auth::{Actor, jwt::JwtError};
use quartet_telemetry::RequestContext;
use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{Instant, Interval, Sleep, interval_at},
};

use super::{
    execution::{Operation, within},
    response::GraphQlResponse,
    state::GraphQlState,
};
use crate::{graphql::budget::User, state::AppState};

/// A comment, which clients ignore.
const KEEP_ALIVE: &str = ":\n\n";
/// With an empty `data`: browsers ignore events that have none.
const COMPLETE: &str = "event: complete\ndata:\n\n";

/// Responds with a `next` event for each response of the operation and a `complete` event at the
/// end. The stream ends when the token expires or the service shuts down.
pub(super) fn respond(
    operation: Operation,
    actor: &Actor,
    user: Arc<User>,
    state: &GraphQlState,
) -> Response {
    let ctx = &state.app.ctx;
    let seconds = actor
        .expires_at()
        .saturating_sub(ctx.clock.now().timestamp());
    let lifetime = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let period = Duration::from_secs(ctx.config.graphql.keep_alive_seconds);
    let is_subscription = operation.kind == OperationType::Subscription;
    let responses = operation.stream(state);
    let run = Box::new(RunningOperation {
        responses: if is_subscription {
            in_own_task(responses)
        } else {
            responses
        },
        expiry: Box::pin(tokio::time::sleep(lifetime)),
        keep_alive: interval_at(Instant::now() + period, period),
        app: state.app.clone(),
        request: quartet_telemetry::current_request(),
    });
    let events = stream::unfold(Phase::Running(run), |phase| async move {
        let (event, next) = phase.step().await?;
        Some((event, next))
    });
    // Counted until the connection has taken it; one that reads nothing for long is disconnected.
    let events = events.then(move |event| {
        let user = Arc::clone(&user);
        async move {
            user.counted(event)
                .await
                .map_err(|problem| problem.kind.code)
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "private, no-store"),
        // Keeps nginx from buffering events.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(events)).into_response()
}

/// An operation that runs.
struct RunningOperation {
    responses: BoxStream<'static, GraphQlResponse>,
    expiry: Pin<Box<Sleep>>,
    keep_alive: Interval,
    app: AppState,
    request: Option<Arc<RequestContext>>,
}

/// The responses of an operation that runs in a task of its own. The task is aborted when they are
/// dropped.
struct Responses {
    queue: mpsc::Receiver<GraphQlResponse>,
    task: AbortHandle,
}

impl Drop for Responses {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn in_own_task(
    mut responses: BoxStream<'static, GraphQlResponse>,
) -> BoxStream<'static, GraphQlResponse> {
    let (sender, queue) = mpsc::channel(1);
    let forward = async move {
        while let Some(response) = responses.next().await {
            if sender.send(response).await.is_err() {
                return;
            }
        }
    };
    let task = tokio::spawn(forward).abort_handle();
    let responses = Responses { queue, task };
    let next = |mut responses: Responses| async move {
        let response = responses.queue.recv().await?;
        Some((response, responses))
    };
    stream::unfold(responses, next).boxed()
}

enum Phase {
    Running(Box<RunningOperation>),
    /// Only `complete` is left to send.
    Completing,
    Ended,
}

impl Phase {
    /// The next piece of the body, and the phase after it.
    async fn step(self) -> Option<(String, Self)> {
        let mut run = match self {
            Self::Running(run) => run,
            Self::Completing => return Some((COMPLETE.to_owned(), Self::Ended)),
            Self::Ended => return None,
        };
        tokio::select! {
            response = run.responses.next() => Some(match response {
                Some(response) => (next(&response), Self::Running(run)),
                None => (COMPLETE.to_owned(), Self::Ended),
            }),
            _ = run.keep_alive.tick() => Some((KEEP_ALIVE.to_owned(), Self::Running(run))),
            () = &mut run.expiry => {
                let settings = &run.app.ctx.config.graphql;
                let response = within(run.request.take(), || {
                    GraphQlResponse::from_problem(&JwtError::Expired.into(), settings)
                });
                Some((next(&response), Self::Completing))
            }
            () = run.app.base.shutdown.cancelled() => Some((COMPLETE.to_owned(), Self::Ended)),
        }
    }
}

fn next(response: &GraphQlResponse) -> String {
    format!("event: next\ndata: {}\n\n", response.to_json())
}
