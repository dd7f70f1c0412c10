//! Failures: whether another replica is tried, and otherwise what the client receives.

use std::io;

use pingora::{
    Error, ErrorSource,
    ErrorType::{
        self, BindError, ConnectError, ConnectNoRoute, ConnectRefused, ConnectTimedout,
        ConnectionClosed, H2Error, HTTPStatus, InvalidCert, InvalidHTTPHeader, ReadError,
        ReadTimedout, SocketError, TLSHandshakeFailure, TLSHandshakeTimedout, WriteError,
        WriteTimedout,
    },
    proxy::{FailToProxy, Session},
};
use quartet_common::problem::Problem;

use super::{
    attempt::{self, NOT_ADMITTED, WITHHELD},
    ctx::Ctx,
    peer::NOT_SILENT,
    reply,
    request_body::{BODY_REFUSED, pause},
    response,
    try_timeout::Expired,
};
use crate::{error, reply::GatewayResponse, state::State};

/// Whether another replica is tried after an attempt failed, and otherwise the failure. Only an idempotent
/// request whose body can be sent again is repeated, and if the client has received nothing yet.
#[expect(
    clippy::unnecessary_box_returns,
    reason = "pingora passes errors in boxes"
)]
pub(super) fn while_proxying(
    session: &mut Session,
    ctx: &mut Ctx,
    state: &State,
    mut error: Box<Error>,
    reused: bool,
) -> Box<Error> {
    let slot = ctx.attempts.slot.take();
    let retry = if *error.etype() == NOT_SILENT || *error.etype() == WITHHELD {
        // Another connection takes its place, of this replica or another one. Or it is decided already.
        true
    } else if let Some(expired) = slot.and_then(|slot| slot.expired()) {
        let why = match expired {
            Expired::Attempt => "no response within the time-out of an attempt",
            Expired::Request => "no whole response within the time-out of a request",
        };
        error = Error::explain(ReadTimedout, why).into_up();
        match expired {
            Expired::Attempt => attempt::after_a_slow_try(ctx, state),
            Expired::Request => note_timeout(session, ctx, &ReadTimedout),
        }
        expired == Expired::Attempt
    } else if *error.esource() != ErrorSource::Upstream {
        false
    } else if matches!(error.etype(), ReadTimedout | WriteTimedout) {
        note_timeout(session, ctx, error.etype());
        false
    } else if matches!(error.etype(), HTTPStatus(_)) {
        false
    } else {
        let repeatable =
            attempt::is_repeatable(session, ctx) && session.response_written().is_none();
        attempt::after_a_failed_connection(ctx, state, repeatable, reused)
    };
    if retry {
        // The body is sent, and counted, again.
        ctx.policy.restart_body();
    }
    error.set_retry(retry);
    error
}

/// The replica was silent for too long, unless it was the client that was waited for.
fn note_timeout(session: &mut Session, ctx: &Ctx, kind: &ErrorType) {
    let is_sent = session.as_downstream_mut().is_body_done() || *kind == WriteTimedout;
    if attempt::has_expired(ctx) {
        if is_sent && ctx.head_after.is_none() {
            attempt::note_deadline(ctx, pause(ctx));
        }
    } else if is_sent {
        attempt::note_silence(ctx);
    }
}

/// Sends a problem, unless the client has disconnected or a response has started.
pub(super) async fn respond(
    session: &mut Session,
    ctx: &mut Ctx,
    error: &Error,
    state: &State,
) -> FailToProxy {
    // Behind the head of a switch, bytes belong to the other protocol.
    let started = session
        .response_written()
        .is_some_and(|head| !response::is_interim(head));
    let body_is_slow = *error.etype() == ReadTimedout
        && !session.as_downstream_mut().is_body_done()
        && ctx
            .route()
            .is_some_and(|route| pause(ctx) > route.body_timeout);
    if let Some(instead) = replaced(session, ctx, error) {
        // The client may have disconnected.
        ctx.answered = reply::answer(session, ctx, *instead, state).await.is_ok();
        return FailToProxy {
            error_code: 0,
            can_reuse_downstream: false,
        };
    }
    // The upstream is silent because the client is.
    let answer = match ctx.refusal.take() {
        Some(refusal) if [BODY_REFUSED, NOT_ADMITTED].contains(error.etype()) => Some(*refusal),
        _ if body_is_slow => Some(GatewayResponse::Problem(body_timed_out())),
        _ => problem_of(error).map(GatewayResponse::Problem),
    };
    let error_code = match answer {
        Some(answer) if !started => {
            let code = answer.status().as_u16();
            // The rest of the request may still arrive, so the connection cannot be reused.
            session.set_keepalive(None);
            match reply::answer(session, ctx, answer, state).await {
                Ok(()) => code,
                Err(_) => 0,
            }
        }
        _ => 0,
    };
    FailToProxy {
        error_code,
        can_reuse_downstream: false,
    }
}

/// What a cache has in place of the response, or of the failure to get one.
fn replaced(session: &Session, ctx: &mut Ctx, error: &Error) -> Option<Box<GatewayResponse>> {
    if *error.etype() == response::REPLACED {
        return ctx.instead.take();
    }
    let is_failure = ctx.policy.has_cache()
        && session.response_written().is_none()
        && *error.esource() != ErrorSource::Downstream
        && problem_of(error).is_some();
    if !is_failure {
        return None;
    }
    let request = session.req_header();
    ctx.policy.cache_instead(&request.method, &request.headers)
}

/// `None`: the client has disconnected.
fn problem_of(failure: &Error) -> Option<Problem> {
    let kind = failure.etype();
    match failure.esource() {
        ErrorSource::Downstream => match kind {
            ReadTimedout => Some(body_timed_out()),
            InvalidHTTPHeader => Some(error::malformed(
                "the head cannot be forwarded: authority and Host differ, or Connection is invalid",
            )),
            ReadError if !is_invalid_data(failure) => None,
            // Of HTTP/2: the client has reset the stream.
            H2Error | WriteError | WriteTimedout | ConnectionClosed => None,
            _ => Some(error::malformed("the request body cannot be read")),
        },
        ErrorSource::Upstream => Some(match kind {
            ReadTimedout | WriteTimedout => error::upstream_timeout(),
            kind if is_connect(kind) => error::upstream_unreachable(),
            _ => error::bad_gateway(),
        }),
        ErrorSource::Internal | ErrorSource::Unset => Some(error::internal()),
    }
}

/// Whether the client's connection has refused what it read.
fn is_invalid_data(failure: &Error) -> bool {
    let cause = failure.root_cause().downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::InvalidData)
}

pub(super) fn body_timed_out() -> Problem {
    error::request_timeout("the request body did not arrive in time")
}

fn is_connect(kind: &ErrorType) -> bool {
    matches!(
        kind,
        ConnectTimedout
            | ConnectRefused
            | ConnectNoRoute
            | ConnectError
            | BindError
            | SocketError
            | InvalidCert
            | TLSHandshakeFailure
            | TLSHandshakeTimedout
    )
}
