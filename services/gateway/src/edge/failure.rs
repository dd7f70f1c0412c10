//! Failures: whether another replica is tried, and otherwise what the client receives.

use std::{io, time::Instant};

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
    ctx::Ctx,
    peer::{NO_REPLICA, NOT_SILENT},
    reply,
    request_body::{BODY_REFUSED, pause},
    response,
};
use crate::{error, reply::GatewayResponse, state::State, upstream::ReplicaOutcome};

/// Whether another replica is tried. Nothing was sent yet, so every request is safe to retry.
pub(super) fn while_connecting(ctx: &mut Ctx, state: &State) -> bool {
    mark_failed(ctx, state, ReplicaOutcome::ConnectFailed);
    may_retry(ctx, state)
}

/// Whether another replica is tried after a connection failed: only for an idempotent request whose
/// body can be sent again, and if the client has received nothing yet.
pub(super) fn while_proxying(
    session: &Session,
    ctx: &mut Ctx,
    state: &State,
    error: &Error,
    reused: bool,
) -> bool {
    if *error.etype() == NOT_SILENT {
        // Nothing was sent; another connection, of this replica or another one, takes its place.
        return true;
    }
    let connection_failed = *error.esource() == ErrorSource::Upstream
        && !matches!(error.etype(), ReadTimedout | WriteTimedout | HTTPStatus(_));
    if !connection_failed {
        return false;
    }
    let repeatable = session.req_header().method.is_idempotent()
        && !session.as_ref().retry_buffer_truncated()
        && session.response_written().is_none();
    let retry = after_a_failed_connection(ctx, state, repeatable, reused);
    if retry {
        // The body is sent, and counted, again.
        ctx.policy.restart_body();
    }
    retry
}

/// `repeatable`: sending the request again is safe and possible.
pub(super) fn after_a_failed_connection(
    ctx: &mut Ctx,
    state: &State,
    repeatable: bool,
    reused: bool,
) -> bool {
    if reused {
        // The replica may just have closed an idle connection, so it is not marked as failed.
        exclude(ctx);
    } else {
        mark_failed(ctx, state, ReplicaOutcome::Broken);
    }
    repeatable && may_retry(ctx, state)
}

/// Prefers other replicas for this request, if there are any: the other idle connections to this
/// one may be dead too, and each would cost a retry.
fn exclude(ctx: &mut Ctx) {
    let (Some(upstream), Some(replica)) = (&ctx.attempts.upstream, &ctx.attempts.current) else {
        return;
    };
    let tried = &mut ctx.attempts.tried;
    let another = upstream
        .replicas()
        .iter()
        .any(|other| other.address != replica.address && !tried.contains(&other.address));
    if another {
        tried.push(replica.address);
    }
}

/// Reports the replica, and excludes it for this request.
fn mark_failed(ctx: &mut Ctx, state: &State, outcome: ReplicaOutcome) {
    let (Some(upstream), Some(lease)) = (&ctx.attempts.upstream, &ctx.attempts.current) else {
        return;
    };
    lease.report(outcome, Instant::now());
    let name = &upstream.config.name;
    match outcome {
        ReplicaOutcome::ConnectFailed => state.metrics.connect_failures(name).inc(),
        ReplicaOutcome::Broken => state.metrics.broken_responses(name).inc(),
        ReplicaOutcome::Responded => return,
    };
    ctx.attempts.tried.push(lease.address);
}

fn may_retry(ctx: &mut Ctx, state: &State) -> bool {
    let Some(upstream) = &ctx.attempts.upstream else {
        return false;
    };
    let tried = &ctx.attempts.tried;
    let replicas = upstream.replicas();
    let is_left = replicas
        .iter()
        .any(|replica| !tried.contains(&replica.address));
    if !is_left
        || ctx.attempts.retries >= upstream.config.retries
        || !upstream.retry_budget.withdraw()
    {
        return false;
    }
    ctx.attempts.retries += 1;
    state.metrics.retries(&upstream.config.name).inc();
    true
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
    // The upstream is silent because the client is.
    let answer = match ctx.refusal.take() {
        Some(refusal) if *error.etype() == BODY_REFUSED => Some(*refusal),
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

/// `None`: the client has disconnected.
fn problem_of(failure: &Error) -> Option<Problem> {
    let kind = failure.etype();
    if *kind == NO_REPLICA {
        return Some(error::upstream_unreachable());
    }
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
