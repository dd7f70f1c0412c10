//! Last phase: the request is over. One line, and the metrics.

use std::sync::{Arc, LazyLock};

use pingora::{Error, proxy::Session};

use super::{ctx::Ctx, reply};
use crate::{observe::Line, state::State};

static UNMATCHED: LazyLock<Arc<str>> = LazyLock::new(|| reply::unmatched().into());

pub(super) fn finish(session: &Session, error: Option<&Error>, ctx: &mut Ctx, state: &State) {
    let head = session.req_header();
    let status = reply::status(session).map_or(reply::CLIENT_GONE, |status| status.as_u16());
    let took = ctx.started.elapsed();
    let route = ctx
        .matched
        .as_ref()
        .map_or(&*UNMATCHED, |matched| &matched.pattern);
    // A client that hangs up after its answer has begun is no error of ours.
    let cause = ctx
        .problem
        .as_ref()
        .and_then(|problem| problem.causes.clone())
        .or_else(|| error.map(ToString::to_string));
    Line {
        method: &head.method,
        path: head.uri.path(),
        status,
        took,
        request_id: ctx.request_id(),
        trace: ctx.trace.context,
        route,
        caller_id: ctx.notes.caller.as_ref().map(|claims| claims.sub.as_str()),
        client: Some(ctx.client),
        upstream: ctx.attempts.current.as_ref().map(|replica| replica.address),
        upstream_took: ctx.attempts.took,
        bytes: session.body_bytes_sent(),
        code: ctx.problem.as_ref().map(|problem| problem.code),
        error: cause.as_deref(),
    }
    .write();
    state
        .metrics
        .http
        .request_finished(&head.method, Arc::clone(route), status, took);
    let code = ctx.problem.as_ref().map(|problem| problem.code);
    let route = Arc::clone(route);
    ctx.trace.finish(&head.method, &route, status, code);
    ctx.active = None;
}
