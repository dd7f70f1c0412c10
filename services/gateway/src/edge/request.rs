//! Phase 2: route, policies, pages of the gateway itself, timeouts.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderValue, header};
use pingora::{Error, ErrorType, Result, proxy::Session};
use quartet_common::problem::Problem;

use super::{
    ctx::{Ctx, ReceivedHead},
    login_page,
    refresh::Refresher,
    reply, request_body,
    socket::local,
};
use crate::{
    pages::{self, deep_health},
    policy::{Flow, https_redirect::redirect},
    reply::GatewayResponse,
    request::RequestTarget,
    routing::{GatewayPage, MatchedRoute, RouteAction, SentHead},
    snapshot::Snapshot,
    state::State,
    tls::{
        acme::{Acme, ChallengeAnswer},
        is_challenge,
    },
};

/// True: a response has been sent.
pub(super) async fn filter(
    session: &mut Session,
    ctx: &mut Ctx,
    state: &Arc<State>,
    refresher: &Refresher,
) -> Result<bool> {
    let snapshot = Arc::clone(&ctx.snapshot);
    let head = session.req_header();
    if let Some(acme) = &snapshot.acme
        && let Some(answer) =
            challenge(acme, ReceivedHead::of(head.as_ref(), head.raw_path())).await
    {
        reply::answer(session, ctx, *answer, state).await?;
        return Ok(true);
    }
    let received = ReceivedHead::of(head.as_ref(), head.raw_path());
    let found = route(&snapshot, received, ctx.policy.tls.is_some());
    if let Some(redirect) = redirect_to_https(session, ctx, state, found.as_ref().ok()) {
        reply::answer(session, ctx, redirect, state).await?;
        return Ok(true);
    }
    match found {
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
    match flow {
        Flow::Continue => {}
        Flow::Reply(answer) => {
            if let Some(policy) = ctx.policy.cache_refresh() {
                refresher.start(session, ctx, policy, state);
            }
            reply::answer(session, ctx, *answer, state).await?;
            return Ok(true);
        }
        // As if the client had gone: no response is sent.
        Flow::Abort => return Err(Error::new_down(ErrorType::ConnectionClosed)),
    }
    if !ctx.upgrade && session.req_header().headers.contains_key(header::UPGRADE) {
        // Any other upgrade is ignored, by pingora too.
        session.req_header_mut().remove_header(&header::UPGRADE);
    }
    match route.action {
        RouteAction::Proxy(_) | RouteAction::Choose => {
            begin(session, ctx);
            if let Some(answer) = request_body::read_ahead(session, ctx).await? {
                reply::answer(session, ctx, *answer, state).await?;
                return Ok(true);
            }
            Ok(false)
        }
        // The route's chain has answered; without an upstream, nothing else can.
        RouteAction::Redirect | RouteAction::Respond | RouteAction::Site | RouteAction::Verify => {
            Ok(false)
        }
        RouteAction::Serve(serve) => {
            serve_page(session, ctx, state, serve).await?;
            Ok(true)
        }
    }
}

/// The answer to a challenge of an authority, which no route and no policy sees.
async fn challenge(acme: &Acme, head: ReceivedHead<'_>) -> Option<ChallengeAnswer> {
    if !is_challenge(head.target) {
        return None;
    }
    let host = head.headers.first(&header::HOST);
    let host = host.and_then(|host| std::str::from_utf8(host).ok());
    let host = head.authority.or(host);
    acme.challenges.answer(head.method, head.target, host).await
}

/// The redirect of a listener that is for nothing else. Exempt are the page that load balancers ask for
/// health, and challenges of authorities.
fn redirect_to_https(
    session: &Session,
    ctx: &Ctx,
    state: &State,
    matched: Option<&MatchedRoute>,
) -> Option<GatewayResponse> {
    if ctx.policy.is_secure || !state.redirects_to_https(|| listener_of(session)) {
        return None;
    }
    let head = session.req_header();
    let path = head.uri.path();
    let path = matched.map_or(path, |matched| matched.path(path));
    let is_health = matched
        .is_some_and(|matched| matched.route.action == RouteAction::Serve(GatewayPage::Health));
    if is_health || is_challenge(path) {
        return None;
    }
    let reported = ctx.reported_host.as_deref().map(str::as_bytes);
    let host = head.headers.get(header::HOST).map(HeaderValue::as_bytes);
    let authority = head.uri.authority().map(|it| it.as_str().as_bytes());
    let host = reported.or(authority).or(host);
    let port = ctx.snapshot.config.tls.https_port;
    Some(redirect(host, head.raw_path(), port))
}

fn listener_of(session: &Session) -> Option<SocketAddr> {
    local(session.digest()?.socket_digest.clone())
}

/// The request is forwarded.
pub(super) fn begin(session: &mut Session, ctx: &Ctx) {
    if let Some(upstream) = &ctx.attempts.upstream {
        upstream.retry_budget.deposit();
    }
    set_timeouts(session, ctx);
}

/// # Errors
/// As [`Snapshot::route`].
pub(super) fn route(
    snapshot: &Snapshot,
    head: ReceivedHead<'_>,
    has_tls: bool,
) -> Result<MatchedRoute, Problem> {
    snapshot.route(SentHead {
        has_tls,
        method: head.method,
        target: head.target,
        authority: head.authority,
        headers: head.headers,
    })
}

async fn serve_page(
    session: &mut Session,
    ctx: &mut Ctx,
    state: &State,
    serve: GatewayPage,
) -> Result<()> {
    let head = session.req_header();
    let head = ReceivedHead::of(head.as_ref(), head.raw_path());
    let path = ctx.matched.as_ref().map(|matched| matched.path(head.path));
    let path = path.unwrap_or_default().to_owned();
    let snapshot = Arc::clone(&ctx.snapshot);
    if serve == GatewayPage::Login {
        return login_page::serve(session, ctx, state).await;
    }
    if serve == GatewayPage::Health && asks_deep(head, ctx) {
        let page = state.deep_health.render(&snapshot).await;
        return reply::send(session, ctx, page, state).await;
    }
    match pages::render(serve, &path, &state.documents, &snapshot).await {
        Ok(page) => reply::send(session, ctx, page, state).await,
        Err(problem) => reply::problem(session, ctx, problem, state).await,
    }
}

/// Whether the health of the upstreams is asked for, by a client that may know it.
fn asks_deep(head: ReceivedHead<'_>, ctx: &Ctx) -> bool {
    let target = std::str::from_utf8(head.target).map(RequestTarget::split);
    let query = target.map_or("", |target| target.query.trim_start_matches('?'));
    let settings = &ctx.snapshot.config.model.health;
    deep_health::is_asked(query) && deep_health::is_permitted(settings, ctx.client_ip, head.headers)
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
