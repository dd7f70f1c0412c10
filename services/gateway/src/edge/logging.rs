//! Phase 7: the request has ended. Access line, metrics, span.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use http::Method;
use pingora::{Error, proxy::Session};
use quartet_telemetry::AccessLine;

use super::ctx::Ctx;
use crate::state::State;

/// The route of requests that match none.
pub(super) const UNMATCHED: &str = "unmatched";
static UNMATCHED_ROUTE: LazyLock<Arc<str>> = LazyLock::new(|| UNMATCHED.into());
/// The status of requests whose client disconnected before a response (nginx's convention).
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Statuses of the gateway's own whose lines are limited: a flood of them costs the sender nothing.
pub(super) const REFUSED: [u16; 7] = [400, 404, 405, 408, 413, 429, 431];
const SWITCHING_PROTOCOLS: u16 = 101;

/// How a request ended.
pub(super) struct CompletedRequest<'d> {
    pub(super) method: &'d Method,
    pub(super) path: &'d str,
    /// Of the response that was sent, if there was one.
    pub(super) status: Option<u16>,
    /// Of the response body.
    pub(super) bytes: u64,
    pub(super) error: Option<&'d str>,
}

pub(super) fn finish(session: &Session, error: Option<&Error>, ctx: &mut Ctx, state: &State) {
    let head = session.req_header();
    let error = error.map(ToString::to_string);
    let done = CompletedRequest {
        method: &head.method,
        path: head.uri.path(),
        status: session
            .response_written()
            .map(|response| response.status.as_u16()),
        bytes: session.body_bytes_sent() as u64,
        error: error.as_deref(),
    };
    record(done, ctx, state);
}

pub(super) fn record(done: CompletedRequest<'_>, ctx: &mut Ctx, state: &State) {
    let status = done.status.unwrap_or(CLIENT_CLOSED_REQUEST);
    let duration = ctx.started.elapsed();
    let route = ctx
        .matched
        .as_ref()
        .map_or(&*UNMATCHED_ROUTE, |matched| &matched.pattern.text);
    let cause = ctx
        .problem
        .as_ref()
        .and_then(|problem| problem.causes.as_deref())
        .or(done.error)
        .or(ctx.policy.access.as_ref().and_then(|access| access.over()));
    let line = AccessLine {
        method: done.method.as_str(),
        path: done.path,
        status,
        duration,
        request_id: ctx.request_id(),
        trace: ctx.trace.context(),
        route,
        caller_id: ctx.policy.caller.as_ref().map(|claims| claims.sub.as_str()),
        client: Some(ctx.client_ip),
        upstream: ctx.attempts.address,
        upstream_duration: ctx.attempts.duration,
        retries: Some(ctx.attempts.retries).filter(|&retries| retries > 0),
        bytes: Some(done.bytes),
        cache: ctx.policy.cache_outcome(),
        tls_version: ctx.policy.tls.as_ref().map(|tls| tls.version),
        tls_cipher: ctx.policy.tls.as_ref().map(|tls| tls.cipher),
        violation: ctx.policy.violation.as_deref(),
        code: ctx.problem.as_ref().map(|problem| problem.code),
        error: cause,
        ..AccessLine::default()
    };
    let refused = ctx.attempts.started.is_none() && REFUSED.contains(&status);
    let lines = ctx
        .snapshot
        .config
        .model
        .server
        .refused_log_lines_per_second;
    if !refused || state.refusals.may_log(lines) {
        line.write();
    }
    count(done.method, status, duration, ctx, state);
    let code = ctx.problem.as_ref().map(|problem| problem.code);
    ctx.trace.finish(done.method, route, status, code);
    ctx.active = None;
}

fn count(method: &Method, status: u16, duration: Duration, ctx: &Ctx, state: &State) {
    let matched = ctx.matched.as_ref();
    let route = || matched.map_or(&*UNMATCHED_ROUTE, |matched| &matched.pattern.text);
    let metrics = &state.metrics.http;
    if status == SWITCHING_PROTOCOLS {
        // The hours of a WebSocket are no one's wait for a response.
        return metrics.request_counted(method, Arc::clone(route()), status);
    }
    let until_head = ctx.head_after.unwrap_or(duration);
    match matched {
        Some(matched) => {
            let series = ctx.snapshot.series(&matched.pattern);
            series.finished(method, status, until_head);
        }
        None => metrics.request_finished(method, Arc::clone(route()), status, until_head),
    }
}
