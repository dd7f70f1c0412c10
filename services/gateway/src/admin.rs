//! The admin listener: metrics, probes, routes, upstreams and the log level. Never public.
//!
//! `/ready` does not ask the upstreams: one that is down causes 503 on its own routes, and must not
//! make the gateway, and with it all others, unavailable.

use std::{
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request, State as Extract},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::header;
use quartet_common::{
    config::{ConfigError, Server},
    problem::{FieldError, Problem, kinds},
    request_id::RequestId,
};
use quartet_http::{extract, health, serve::serve as serve_http};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, Host, UpstreamTarget},
    error,
    reply::Reply,
    routing::{Auth, Route, RouteAction},
    state::State,
    upstream::{HealthState, Lookup, Replica, Upstream},
};

/// Time for a request head, and again for the response.
const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_CONNECTIONS: usize = 256;
const MAX_BODY_BYTES: usize = 16 * 1024;

/// Responds until the process exits: probes must see "not ready" to the end.
pub(crate) async fn serve(listener: TcpListener, state: Arc<State>) {
    let served = async {
        listener.set_nonblocking(true)?;
        let settings = settings(listener.local_addr()?);
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let readiness = state.readiness.clone();
        let never = CancellationToken::new();
        serve_http(listener, router(state), &settings, &readiness, never).await
    };
    if let Err(error) = served.await {
        tracing::error!(target: "quartet", %error, "admin listener stopped");
    }
}

fn settings(listen: std::net::SocketAddr) -> Server {
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
    }
}

fn router(state: Arc<State>) -> Router {
    let probes = health::router(state.readiness.clone(), state.metrics.http.clone());
    Router::new()
        .route("/routes", get(list_routes))
        .route("/upstreams", get(list_upstreams))
        .route("/log-level", get(log_level).put(set_log_level))
        .with_state(Arc::clone(&state))
        .merge(probes)
        .fallback(async || error::no_route())
        .method_not_allowed_fallback(async || Problem::new(&kinds::METHOD_NOT_ALLOWED))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(state, render_problem))
}

/// Body of `/log-level`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct LogFilter {
    log: String,
}

async fn log_level(Extract(state): Extract<Arc<State>>) -> Json<LogFilter> {
    let log = state.log_level.get();
    Json(LogFilter { log })
}

/// # Errors
/// 422 when the filter is invalid.
async fn set_log_level(
    Extract(state): Extract<Arc<State>>,
    extract::Json(filter): extract::Json<LogFilter>,
) -> Result<Json<LogFilter>, Problem> {
    let set = state.log_level.set(&filter.log);
    set.map_err(|error| {
        let detail = match error {
            ConfigError::Invalid { message, .. } => message,
            other => other.to_string(),
        };
        Problem::invalid(vec![FieldError::body("/log", "invalid_filter", detail)])
    })?;
    Ok(log_level(Extract(state)).await)
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

async fn list_routes(Extract(state): Extract<Arc<State>>) -> Json<Value> {
    Json(json!({ "routes": describe_routes(&state.snapshot().config) }))
}

/// The routes as `/routes` and the `routes` command show them.
pub(crate) fn describe_routes(config: &Config) -> Vec<Value> {
    let routes = config.routes.routes().iter();
    routes.map(|route| describe_route(route, config)).collect()
}

fn describe_route(route: &Route, config: &Config) -> Value {
    let action = match route.action {
        RouteAction::Proxy(index) => json!({ "upstream": &*config.upstreams[index].name }),
        RouteAction::Serve(serve) => json!({ "serve": format!("{serve:?}").to_lowercase() }),
        RouteAction::Redirect => {
            json!({ "redirect": route.redirect.as_ref().map(ToString::to_string) })
        }
    };
    json!({
        "name": &*route.name,
        "hosts": route.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "paths": route.paths.iter().map(|path| &*path.text).collect::<Vec<_>>(),
        "methods": route.methods.iter().map(http::Method::as_str).collect::<Vec<_>>(),
        "priority": route.priority,
        "action": action,
        "auth": match route.auth {
            Auth::Public => "public",
            Auth::Optional => "optional",
            Auth::Required => "required",
        },
        "limit": route.limits.iter().map(|&index| &*config.limits[index].name).collect::<Vec<_>>(),
        "upgrade": route.upgrade,
        "body_limit_bytes": route.body_limit_bytes,
    })
}

async fn list_upstreams(Extract(state): Extract<Arc<State>>) -> Json<Value> {
    let snapshot = state.snapshot();
    let upstreams = snapshot.upstreams.iter();
    let upstreams: Vec<Value> = upstreams
        .map(|upstream| describe_upstream(upstream))
        .collect();
    Json(json!({ "upstreams": upstreams }))
}

fn describe_upstream(upstream: &Upstream) -> Value {
    let lookups = upstream.lookups();
    let targets = upstream.config.targets.iter().zip(&lookups);
    let targets: Vec<Value> = targets
        .map(|(target, lookup)| {
            let host = match &target.host {
                Host::Ip(ip) => ip.to_string(),
                Host::Name(name) => name.clone(),
            };
            describe_lookup(&host, target, lookup)
        })
        .collect();
    let replicas = upstream.replicas();
    json!({
        "name": &*upstream.config.name,
        "replicas": replicas.iter().map(|replica| describe_replica(replica)).collect::<Vec<_>>(),
        "targets": targets,
    })
}

fn describe_replica(replica: &Replica) -> Value {
    let (state, ejected_ms) = match replica.health.state(Instant::now()) {
        HealthState::Healthy => ("healthy", 0),
        HealthState::Ejected(left) => ("ejected", left.as_millis()),
        HealthState::Probing => ("probing", 0),
    };
    json!({
        "address": replica.address,
        "state": state,
        "ejected_ms": ejected_ms,
        "in_flight": replica.in_flight(),
    })
}

fn describe_lookup(host: &str, target: &UpstreamTarget, lookup: &Lookup) -> Value {
    json!({
        "host": host,
        "port": target.port,
        "weight": target.weight,
        "addresses": lookup.addresses,
        "resolved_ms_ago": lookup.resolved_at.map(|at| at.elapsed().as_millis()),
        "error": lookup.error,
    })
}
