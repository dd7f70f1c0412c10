//! Phase 2: route, policies, pages of the gateway itself, timeouts.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, header};
use pingora::{Result, proxy::Session};
use quartet_common::problem::Problem;

use super::{
    ctx::{Ctx, MatchedRoute, ReceivedHead},
    reply,
};
use crate::{
    error, pages,
    policy::Flow,
    request::{RequestTarget, is_visible, path::PathError, reconcile},
    routing::{GatewayPage, RouteAction, Unroutable},
    snapshot::Snapshot,
    state::State,
};

/// True: a response has been sent.
pub(super) async fn filter(session: &mut Session, ctx: &mut Ctx, state: &State) -> Result<bool> {
    let snapshot = Arc::clone(&ctx.snapshot);
    let head = session.req_header();
    match route(&snapshot, ReceivedHead::of(head.as_ref(), head.raw_path())) {
        Ok(matched) => ctx.matched = Some(matched),
        Err(problem) => {
            reply::problem(session, ctx, problem, state).await?;
            return Ok(true);
        }
    }
    let Some(route) = ctx.route().cloned() else {
        return Ok(false);
    };
    let head = session.req_header();
    let flow = ctx
        .judge(ReceivedHead::of(head.as_ref(), head.raw_path()))
        .await;
    if let Flow::Reply(answer) = flow {
        reply::answer(session, ctx, *answer, state).await?;
        return Ok(true);
    }
    if !ctx.upgrade && session.req_header().headers.contains_key(header::UPGRADE) {
        // Any other upgrade is ignored, by pingora too.
        session.req_header_mut().remove_header(&header::UPGRADE);
    }
    match route.action {
        RouteAction::Proxy(index) => {
            let upstream = &snapshot.upstreams[index];
            upstream.retry_budget.deposit();
            ctx.attempts.upstream = Some(Arc::clone(upstream));
            set_timeouts(session, ctx);
            Ok(false)
        }
        // The route's chain has answered; without an upstream, nothing else can.
        RouteAction::Redirect => Ok(false),
        RouteAction::Serve(serve) => {
            serve_page(session, ctx, state, serve).await?;
            Ok(true)
        }
    }
}

/// The route of a request, by the one spelling of its path and host.
///
/// # Errors
/// The problem that is the response.
pub(super) fn route(snapshot: &Snapshot, head: ReceivedHead<'_>) -> Result<MatchedRoute, Problem> {
    let raw_target =
        std::str::from_utf8(head.target).map_err(|_| refused(PathError::InvalidByte))?;
    let target = RequestTarget::split(raw_target);
    let in_target = target.authority.or(head.authority);
    let sent_host = head.headers.first(&header::HOST);
    let sent_host = sent_host
        .map(|value| visible(value).ok_or_else(invalid_host))
        .transpose()?;
    let authority = reconcile(in_target, sent_host).ok_or_else(invalid_host)?;
    let host = authority.as_ref().map_or("", |authority| &authority.host);
    let selected = snapshot
        .config
        .routes
        .select(host, target.path, head.method, head.headers)
        .map_err(|unroutable| match unroutable {
            Unroutable::Refused(rule) => refused(rule),
            Unroutable::MethodNotAllowed(allowed) => error::method_not_allowed(&allowed),
            Unroutable::NotFound => error::no_route(),
        })?;
    // An authority in the target would be forwarded, and override the Host header.
    let is_as_sent = in_target.is_none() && selected.path == target.path;
    let respelled = authority.filter(|authority| {
        in_target.is_some() || sent_host.is_none_or(|sent| !authority.is_spelled(sent))
    });
    Ok(MatchedRoute {
        route: Arc::clone(selected.route),
        pattern: Arc::clone(selected.pattern),
        target: (!is_as_sent).then(|| format!("{}{}", selected.path, target.query)),
        host: respelled.and_then(|host| HeaderValue::try_from(host.to_text()).ok()),
    })
}

/// A header value as text, if it is nothing else.
fn visible(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok();
    text.filter(|_| is_visible(value))
}

fn refused(rule: PathError) -> Problem {
    error::ambiguous_path(rule.code(), rule.rule())
}

fn invalid_host() -> Problem {
    error::malformed("Host must be one host with an optional port, and that of the request target")
}

async fn serve_page(
    session: &mut Session,
    ctx: &mut Ctx,
    state: &State,
    serve: GatewayPage,
) -> Result<()> {
    let head = session.req_header();
    let head = ReceivedHead::of(head.as_ref(), head.raw_path());
    let path = ctx.matched.as_ref().map(|matched| matched.path(head));
    let path = path.unwrap_or_default().to_owned();
    let snapshot = Arc::clone(&ctx.snapshot);
    match pages::render(serve, &path, &state.documents, &snapshot).await {
        Ok(page) => reply::send(session, ctx, page, state).await,
        Err(problem) => reply::problem(session, ctx, problem, state).await,
    }
}

fn set_timeouts(session: &mut Session, ctx: &Ctx) {
    let Some(route) = ctx.route() else { return };
    let write = ctx.snapshot.config.model.server.write_timeout_seconds;
    if ctx.upgrade {
        // Silence is normal on a WebSocket; the route bounds it.
        session.set_read_timeout(route.stream_timeout);
    } else {
        session.set_read_timeout(Some(route.body_timeout));
    }
    if !ctx.upgrade && ctx.silence().is_none() {
        // Nothing but the end of the client would end the request.
        session.set_abort_on_close(true);
    }
    session.set_write_timeout(Some(Duration::from_secs(write)));
    session.set_total_drain_timeout(Some(reply::LINGER));
}
