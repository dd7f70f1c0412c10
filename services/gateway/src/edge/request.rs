//! Phase 1: the request's head is known. Route, policies, our own pages, time-outs.

use std::{ops::ControlFlow, sync::Arc};

use http::header;
use pingora::{Result, proxy::Session};

use super::{
    ctx::{Ctx, Matched},
    reply,
};
use crate::{
    config::model::Serve,
    error, pages,
    policy::Exchange,
    routing::{Action, Match},
    state::State,
};

/// True: the answer has been sent.
pub(super) async fn filter(session: &mut Session, ctx: &mut Ctx, state: &State) -> Result<bool> {
    let snapshot = Arc::clone(&ctx.snapshot);
    if let Err(problem) = route(session, ctx) {
        reply::problem(session, ctx, problem).await?;
        return Ok(true);
    }
    let Some(route) = ctx.route().cloned() else {
        return Ok(false);
    };
    let mut exchange = Exchange {
        head: session.req_header().as_ref(),
        route: &route,
        client: ctx.client,
        upgrade: ctx.upgrade,
        notes: &mut ctx.notes,
    };
    if let ControlFlow::Break(problem) = snapshot.policies.on_request(&mut exchange).await {
        if let (429, Some((limit, _))) = (problem.kind.status.as_u16(), ctx.notes.quota) {
            state
                .metrics
                .rate_limited(&snapshot.config.limits[limit].name);
        }
        reply::problem(session, ctx, *problem).await?;
        return Ok(true);
    }
    match route.action {
        Action::Proxy(index) => {
            let upstream = &snapshot.upstreams[index];
            upstream.budget.request();
            ctx.attempts.upstream = Some(Arc::clone(upstream));
            set_timeouts(session, ctx);
            Ok(false)
        }
        Action::Serve(serve) => {
            own_page(session, ctx, state, serve).await?;
            Ok(true)
        }
    }
}

fn route(session: &Session, ctx: &mut Ctx) -> Result<(), quartet_common::problem::Problem> {
    let head = session.req_header();
    let path = head.uri.path();
    if !head.raw_path_is_utf8() || !path.starts_with('/') || has_dot_segment(path) {
        return Err(error::ambiguous_path());
    }
    let host = head
        .headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok())
        .or_else(|| head.uri.authority().map(http::uri::Authority::as_str))
        .unwrap_or_default();
    match ctx
        .snapshot
        .config
        .routes
        .find(host, path, &head.method, &head.headers)
    {
        Match::Found { route, pattern } => {
            let matched = Matched {
                route: Arc::clone(route),
                pattern: Arc::clone(pattern),
            };
            ctx.matched = Some(matched);
            Ok(())
        }
        Match::WrongMethod(allowed) => Err(error::wrong_method(&allowed)),
        Match::Nothing => Err(error::no_route()),
    }
}

/// Whether some server might walk up with this path: `.` and `..`, encoded or not.
fn has_dot_segment(path: &str) -> bool {
    if !path.contains("/.") && !path.contains("/%2") {
        return false;
    }
    path.split(['/', '\\']).any(|segment| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    })
}

async fn own_page(session: &mut Session, ctx: &mut Ctx, state: &State, serve: Serve) -> Result<()> {
    let path = session.req_header().uri.path().to_owned();
    let snapshot = Arc::clone(&ctx.snapshot);
    match pages::answer(serve, &path, state, &snapshot).await {
        Ok(page) => reply::page(session, ctx, page).await,
        Err(problem) => reply::problem(session, ctx, problem).await,
    }
}

fn set_timeouts(session: &mut Session, ctx: &Ctx) {
    let Some(route) = ctx.route() else { return };
    let write = ctx.snapshot.config.model.server.write_timeout_seconds;
    if ctx.streaming {
        // Silence is normal here; the route says how long it may last.
        session.set_read_timeout(route.stream_timeout);
    } else {
        session.set_read_timeout(Some(route.body_timeout));
    }
    session.set_write_timeout(Some(std::time::Duration::from_secs(write)));
    session.set_total_drain_timeout(Some(super::LINGER));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_walk_up_are_seen() {
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
