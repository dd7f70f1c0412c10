//! When something breaks: is another replica asked, and if not, what is answered.

use std::time::Instant;

use pingora::{
    Error, ErrorSource,
    ErrorType::{
        self, BindError, ConnectError, ConnectNoRoute, ConnectRefused, ConnectTimedout,
        ConnectionClosed, HTTPStatus, ReadError, ReadTimedout, SocketError, WriteError,
        WriteTimedout,
    },
    proxy::{FailToProxy, Session},
};
use quartet_common::problem::Problem;

use super::{body::TOO_LARGE, ctx::Ctx, peer::NOBODY, reply};
use crate::{error, state::State};

/// Whether another replica is asked. Nothing was sent yet, so any request may go there.
pub(super) fn to_connect(ctx: &mut Ctx, state: &State) -> bool {
    blame(ctx, state);
    may_retry(ctx, state)
}

/// Whether another replica is asked after the connection broke: for an idempotent
/// request whose body can be sent again, unless a part of the answer has gone out.
pub(super) fn while_proxying(
    session: &Session,
    ctx: &mut Ctx,
    state: &State,
    error: &Error,
    reused: bool,
) -> bool {
    let broke = *error.esource() == ErrorSource::Upstream
        && !matches!(error.etype(), ReadTimedout | WriteTimedout | HTTPStatus(_));
    if !broke {
        return false;
    }
    if reused {
        avoid(ctx);
    } else {
        // A connection that was idle may simply have been closed; a new one was not.
        blame(ctx, state);
    }
    let repeatable = session.req_header().method.is_idempotent()
        && !session.as_ref().retry_buffer_truncated()
        && session.response_written().is_none();
    let retry = repeatable && may_retry(ctx, state);
    if retry {
        // The body is counted anew.
        ctx.body_bytes = 0;
    }
    retry
}

/// This request asks another replica next, if there is one: where one idle connection was
/// dead the others may be as well, and each would cost a retry.
fn avoid(ctx: &mut Ctx) {
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

/// The replica is left out for a while, and this request does not ask it again.
fn blame(ctx: &mut Ctx, state: &State) {
    let (Some(upstream), Some(replica)) = (&ctx.attempts.upstream, &ctx.attempts.current) else {
        return;
    };
    let config = &upstream.config;
    replica
        .health
        .failed(Instant::now(), config.eject_min, config.eject_max);
    state.metrics.connect_failed(upstream);
    ctx.attempts.tried.push(replica.address);
}

fn may_retry(ctx: &mut Ctx, state: &State) -> bool {
    let Some(upstream) = &ctx.attempts.upstream else {
        return false;
    };
    if ctx.attempts.retries >= upstream.config.retries || !upstream.budget.take() {
        return false;
    }
    ctx.attempts.retries += 1;
    state.metrics.retried(upstream);
    true
}

/// Answers with the problem that fits, unless the client is gone or an answer has begun.
pub(super) async fn answer(session: &mut Session, ctx: &mut Ctx, error: &Error) -> FailToProxy {
    let begun = session
        .response_written()
        .is_some_and(|r| !r.status.is_informational());
    let problem = problem_of(error, ctx);
    let error_code = match problem {
        Some(problem) if !begun => {
            let code = problem.kind.status.as_u16();
            // Half a request may still be on its way: the connection cannot be used again.
            session.set_keepalive(None);
            match reply::problem(session, ctx, problem).await {
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

/// `None`: there is nobody to tell.
fn problem_of(failure: &Error, ctx: &Ctx) -> Option<Problem> {
    let kind = failure.etype();
    if *kind == TOO_LARGE {
        let limit = ctx.route().map_or(0, |route| route.body_limit_bytes);
        return Some(error::body_too_large(limit));
    }
    if *kind == NOBODY {
        return Some(error::unreachable());
    }
    match failure.esource() {
        ErrorSource::Downstream => match kind {
            ReadTimedout => Some(error::too_slow("the request body took too long to arrive")),
            ReadError | WriteError | WriteTimedout | ConnectionClosed => None,
            _ => Some(error::malformed("the request body cannot be read")),
        },
        ErrorSource::Upstream => Some(match kind {
            ReadTimedout | WriteTimedout => error::upstream_timeout(),
            kind if is_connect(kind) => error::unreachable(),
            _ => error::bad_gateway(),
        }),
        ErrorSource::Internal | ErrorSource::Unset => Some(error::internal()),
    }
}

fn is_connect(kind: &ErrorType) -> bool {
    matches!(
        kind,
        ConnectTimedout | ConnectRefused | ConnectNoRoute | ConnectError | BindError | SocketError
    )
}
