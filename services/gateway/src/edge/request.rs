//! Phase 2: route, policies, pages of the gateway itself, timeouts.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use http::{header, request::Parts, uri::Authority};
use pingora::{Result, proxy::Session};
use quartet_common::problem::Problem;

use super::{
    ctx::{Ctx, Matched},
    reply,
};
use crate::{
    error, pages,
    policy::RequestView,
    routing::{Action, Match, Serve},
    snapshot::Snapshot,
    state::State,
};

/// True: a response has been sent.
pub(super) async fn filter(session: &mut Session, ctx: &mut Ctx, state: &State) -> Result<bool> {
    let snapshot = Arc::clone(&ctx.snapshot);
    let head = session.req_header();
    match route(&snapshot, head.as_ref(), head.raw_path_is_utf8()) {
        Ok(matched) => ctx.matched = Some(matched),
        Err(problem) => {
            reply::problem(session, ctx, problem).await?;
            return Ok(true);
        }
    }
    let Some(route) = ctx.route().cloned() else {
        return Ok(false);
    };
    let mut request = RequestView {
        head: session.req_header().as_ref(),
        route: &route,
        client_ip: ctx.client_ip,
        upgrade: ctx.upgrade,
        context: &mut ctx.policy,
    };
    if let ControlFlow::Break(problem) = snapshot.policies.on_request(&mut request).await {
        reply::problem(session, ctx, *problem).await?;
        return Ok(true);
    }
    match route.action {
        Action::Proxy(index) => {
            let upstream = &snapshot.upstreams[index];
            upstream.retry_budget.deposit();
            ctx.attempts.upstream = Some(Arc::clone(upstream));
            set_timeouts(session, ctx);
            Ok(false)
        }
        Action::Serve(serve) => {
            serve_page(session, ctx, state, serve).await?;
            Ok(true)
        }
    }
}

/// Finds the route of a request.
pub(super) fn route(snapshot: &Snapshot, head: &Parts, is_utf8: bool) -> Result<Matched, Problem> {
    let path = head.uri.path();
    if !is_utf8 || !path.starts_with('/') || has_dot_segment(path) {
        return Err(error::ambiguous_path());
    }
    let host = head
        .headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok())
        .or_else(|| head.uri.authority().map(Authority::as_str))
        .unwrap_or_default();
    let routes = &snapshot.config.routes;
    match routes.find(host, path, &head.method, &head.headers) {
        Match::Found { route, pattern } => Ok(Matched {
            route: Arc::clone(route),
            pattern: Arc::clone(pattern),
        }),
        Match::MethodNotAllowed(allowed) => Err(error::method_not_allowed(&allowed)),
        Match::NotFound => Err(error::no_route()),
    }
}

/// Whether a server might resolve the path to another one: `.` and `..`, encoded or not.
fn has_dot_segment(path: &str) -> bool {
    if !path.contains("/.") && !path.contains("/%2") {
        return false;
    }
    path.split(['/', '\\']).any(|segment| {
        let decoded = segment.to_ascii_lowercase().replace("%2e", ".");
        decoded == "." || decoded == ".."
    })
}

async fn serve_page(
    session: &mut Session,
    ctx: &mut Ctx,
    state: &State,
    serve: Serve,
) -> Result<()> {
    let path = session.req_header().uri.path().to_owned();
    let snapshot = Arc::clone(&ctx.snapshot);
    match pages::render(serve, &path, &state.documents, &snapshot).await {
        Ok(page) => reply::send(session, ctx, page).await,
        Err(problem) => reply::problem(session, ctx, problem).await,
    }
}

fn set_timeouts(session: &mut Session, ctx: &Ctx) {
    let Some(route) = ctx.route() else { return };
    let write = ctx.snapshot.config.model.server.write_timeout_seconds;
    if ctx.streaming {
        // Silence is normal on a stream; the route bounds it.
        session.set_read_timeout(route.stream_timeout);
    } else {
        session.set_read_timeout(Some(route.body_timeout));
    }
    session.set_write_timeout(Some(Duration::from_secs(write)));
    session.set_total_drain_timeout(Some(reply::LINGER));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_are_found_in_every_encoding() {
        for bad in [
            "/a/../b",
            "/..",
            "/a/%2e%2E/b",
            "/a/.%2e",
            "/./a",
            "/a\\/..\\b",
            "/a/.",
        ] {
            assert!(has_dot_segment(bad), "{bad}");
        }
        for good in ["/", "/a.b", "/.well-known/x", "/a/...", "/a/%2f", "/a..b/"] {
            assert!(!has_dot_segment(good), "{good}");
        }
    }
}
