//! The admin listener: the status page, configuration, routes, upstreams, caches, limits and the log level,
//! probes and metrics. Never public: [`access`] says who may use it. `server.probe_listen` has the probes and
//! metrics alone.
//!
//! `/ready` does not ask the upstreams: one that is down causes 503 on its own routes, and must not
//! make the gateway, and with it all others, unavailable.

mod access;
mod acme;
mod caches;
mod configuration;
mod limits;
mod log_level;
mod page;
mod routes;
mod status;
mod upstreams;

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State as Extract},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use http::header;
use quartet_common::{
    config::Server,
    problem::{Problem, kinds},
    request_id::RequestId,
};
use quartet_http::{
    health,
    serve::{Plain, Transport, serve_over},
    tls::TlsTransport,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{config::admin::is_loopback, error, reply::Reply, state::State};
use access::Gate;
use status::Reports;

pub(crate) use routes::describe_routes;

/// Time for a request head, and again for the response.
const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_CONNECTIONS: usize = 256;
const MAX_BODY_BYTES: usize = 16 * 1024;

/// Responds until the process exits: probes must see "not ready" to the end.
pub(crate) async fn serve(listener: TcpListener, state: Arc<State>) {
    let current = Arc::clone(&state);
    let transport = TlsTransport::new(move || current.snapshot().admin.tls().cloned());
    let gate = |listen| Gate {
        state: Arc::clone(&state),
        is_loopback: is_loopback(listen),
    };
    respond(listener, &state, transport, |listen| {
        router(&state, gate(listen))
    })
    .await;
}

/// As [`serve`], for probes and metrics alone.
pub(crate) async fn serve_probes(listener: TcpListener, state: Arc<State>) {
    respond(listener, &state, Plain, |_| {
        finish(&state, with_fallbacks(probes(&state)))
    })
    .await;
}

async fn respond(
    listener: TcpListener,
    state: &State,
    transport: impl Transport,
    router: impl FnOnce(SocketAddr) -> Router,
) {
    let served = async {
        listener.set_nonblocking(true)?;
        let listen = listener.local_addr()?;
        let (settings, router) = (settings(listen), router(listen));
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let readiness = state.readiness.clone();
        let never = CancellationToken::new();
        serve_over(transport, listener, router, &settings, &readiness, never).await
    };
    if let Err(error) = served.await {
        tracing::error!(target: "quartet", %error, "admin listener stopped");
    }
}

fn settings(listen: SocketAddr) -> Server {
    Server {
        listen,
        body_limit_bytes: MAX_BODY_BYTES,
        request_timeout_seconds: TIMEOUT.as_secs(),
        body_timeout_seconds: TIMEOUT.as_secs(),
        header_timeout_seconds: TIMEOUT.as_secs(),
        drain_seconds: 0,
        shutdown_grace_seconds: 1,
        max_connections: MAX_CONNECTIONS,
        trusted_proxies: Vec::new(),
        tls_certificate: None,
        tls_key: None,
        tls_client_ca: None,
    }
}

fn probes(state: &State) -> Router {
    health::router(state.readiness.clone(), state.metrics.http.clone())
}

fn router(state: &Arc<State>, gate: Gate) -> Router {
    let routes = Router::new()
        .route("/", get(page::show))
        .route("/status", get(status::show).with_state(Reports::new(state)))
        .route("/config", get(configuration::show))
        .route("/reload", post(configuration::reload))
        .route("/routes", get(routes::list_routes))
        .route("/explain", get(routes::explain))
        .route("/upstreams", get(upstreams::list_upstreams))
        .route(
            "/upstreams/{name}/replicas/{address}/drain",
            post(upstreams::drain).delete(upstreams::undrain),
        )
        .route("/limits", get(limits::list_limits))
        .route("/acme", get(acme::list_certificates))
        .route("/acme/{name}/renew", post(acme::renew_certificate))
        .route("/caches", get(caches::list_caches))
        .route("/caches/purge", post(caches::purge))
        .route(
            "/log-level",
            get(log_level::log_level).put(log_level::set_log_level),
        )
        .with_state(Arc::clone(state))
        .merge(probes(state));
    let checked = with_fallbacks(routes).layer(from_fn_with_state(gate, access::check));
    finish(state, checked)
}

fn with_fallbacks(router: Router) -> Router {
    router
        .fallback(async || error::no_route())
        .method_not_allowed_fallback(async || Problem::new(&kinds::METHOD_NOT_ALLOWED))
}

fn finish(state: &Arc<State>, router: Router) -> Router {
    router
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn_with_state(Arc::clone(state), render_problem))
}

/// Gives problems their body; requests to this listener are not logged.
async fn render_problem(
    Extract(state): Extract<Arc<State>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    let problem = match timeout(TIMEOUT, next.run(request)).await {
        Ok(mut response) => {
            let allow = response.headers_mut().remove(header::ALLOW);
            match (response.extensions_mut().remove::<Problem>(), allow) {
                (Some(problem), Some(allow)) => problem.header(header::ALLOW, allow),
                (Some(problem), None) => problem,
                (None, _) => return response,
            }
        }
        Err(_) => error::request_timeout("the request took too long"),
    };
    let id = RequestId::generate(&state.clock);
    let reply = Reply::problem(&problem, id.as_str(), &path);
    let headers = reply.headers.into_iter().collect::<http::HeaderMap>();
    (reply.status, headers, reply.body).into_response()
}
