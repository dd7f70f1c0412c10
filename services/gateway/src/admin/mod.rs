//! The admin listener: metrics, probes, routes, upstreams, caches, limits and the log level. Never public.
//!
//! `/ready` does not ask the upstreams: one that is down causes 503 on its own routes, and must not
//! make the gateway, and with it all others, unavailable.

mod caches;

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, RawQuery, Request, State as Extract},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use http::{StatusCode, header};
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
use url::form_urlencoded;

use crate::{
    config::{Config, Host, Limit, LimitKey, UpstreamTarget},
    error,
    explain::{ExplainedRequest, Explanation},
    policy::rate_limit::StoreStatus,
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
    }
}

fn router(state: Arc<State>) -> Router {
    let probes = health::router(state.readiness.clone(), state.metrics.http.clone());
    Router::new()
        .route("/routes", get(list_routes))
        .route("/explain", get(explain))
        .route("/upstreams", get(list_upstreams))
        .route(
            "/upstreams/{name}/replicas/{address}/drain",
            post(drain).delete(undrain),
        )
        .route("/limits", get(list_limits))
        .route("/caches", get(caches::list_caches))
        .route("/caches/purge", post(caches::purge))
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

/// As the `explain` command, with the configuration in force. `header` may be repeated.
///
/// # Errors
/// 400 when the parameters are no request.
async fn explain(
    Extract(state): Extract<Arc<State>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let query = query.unwrap_or_default();
    let parameters: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let all = |name: &'static str| {
        let named = parameters.iter().filter(move |(known, _)| known == name);
        named.map(|(_, value)| &**value)
    };
    let invalid =
        |name: &str, rule: String| Problem::invalid_parameter(name, "invalid_request", &rule);
    let client = all("client_ip").next().map(str::parse).transpose();
    let client = client.map_err(|_| invalid("client_ip", "must be an IP address".to_owned()))?;
    let (method, url) = (all("method").next(), all("url").next());
    let request = ExplainedRequest::parse(
        method.unwrap_or("GET"),
        url.unwrap_or_default(),
        all("header"),
        client,
    );
    let request = request.map_err(|rule| invalid("url", rule))?;
    let explanation = Explanation::of(&request, &state.snapshot());
    Ok(Json(json!(explanation)))
}

/// The routes as `/routes` and the `routes` command show them.
pub(crate) fn describe_routes(config: &Config) -> Vec<Value> {
    let routes = config.routes.routes().iter();
    routes.map(|route| describe_route(route, config)).collect()
}

fn describe_route(route: &Route, config: &Config) -> Value {
    let action = match route.action {
        RouteAction::Proxy(index) => json!({ "upstream": &*config.upstreams[index].name }),
        RouteAction::Choose if route.lookup.is_some() => {
            let lookup = route.lookup.as_ref();
            json!({ "lookup": lookup.map(|(index, _)| &*config.lookups[*index].name) })
        }
        RouteAction::Choose => {
            let parts = route.split.iter().flat_map(|split| &split.parts);
            let parts = parts.map(|&(index, weight)| {
                json!({ "upstream": &*config.upstreams[index].name, "weight": weight })
            });
            json!({ "split": parts.collect::<Vec<_>>() })
        }
        RouteAction::Serve(serve) => json!({ "serve": format!("{serve:?}").to_lowercase() }),
        RouteAction::Redirect => {
            json!({ "redirect": route.redirect.as_ref().map(ToString::to_string) })
        }
        RouteAction::Respond => {
            json!({ "respond": route.respond.as_ref().map(|response| response.status.as_u16()) })
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
        "cache": route.cache.map(|index| &*config.caches[index].name),
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
                Host::Name(name) | Host::Service(name) => name.clone(),
            };
            describe_lookup(&host, target, lookup)
        })
        .collect();
    let (replicas, now) = (upstream.replicas(), Instant::now());
    let gate = upstream.gate.as_ref();
    let breaker = upstream.breaker.as_ref();
    json!({
        "name": &*upstream.config.name,
        "replicas": replicas.iter().map(|replica| describe_replica(replica)).collect::<Vec<_>>(),
        "targets": targets,
        "in_flight": gate.map(|gate| gate.in_flight()),
        "queued": gate.map(|gate| gate.queued()),
        "circuit": breaker.map(|breaker| breaker.state_name(now)),
    })
}

fn describe_replica(replica: &Replica) -> Value {
    let state = replica.health.state(Instant::now());
    let ejected_ms = match state {
        HealthState::Ejected(left) => left.as_millis(),
        _ => 0,
    };
    json!({
        "address": replica.address,
        "state": state.name(),
        "ejected_ms": ejected_ms,
        "in_flight": replica.in_flight(),
        "check_error": replica.check_error().as_deref(),
    })
}

fn describe_lookup(host: &str, target: &UpstreamTarget, lookup: &Lookup) -> Value {
    let is_service = matches!(target.host, Host::Service(_));
    let addresses = lookup.found.iter().map(|found| {
        if is_service {
            found.address.to_string()
        } else {
            found.address.ip().to_string()
        }
    });
    json!({
        "host": host,
        "port": (!is_service).then_some(target.port),
        "weight": (!is_service).then_some(target.weight),
        "addresses": addresses.collect::<Vec<_>>(),
        "resolved_ms_ago": lookup.resolved_at.map(|at| at.elapsed().as_millis()),
        "error": lookup.error,
    })
}

async fn drain(
    Extract(state): Extract<Arc<State>>,
    Path((name, address)): Path<(String, SocketAddr)>,
) -> Result<StatusCode, Problem> {
    set_drained(&state, &name, address, true)
}

async fn undrain(
    Extract(state): Extract<Arc<State>>,
    Path((name, address)): Path<(String, SocketAddr)>,
) -> Result<StatusCode, Problem> {
    set_drained(&state, &name, address, false)
}

/// # Errors
/// 404 when there is no such replica.
fn set_drained(
    state: &State,
    name: &str,
    address: SocketAddr,
    drained: bool,
) -> Result<StatusCode, Problem> {
    let snapshot = state.snapshot();
    let mut upstreams = snapshot.upstreams.iter();
    let upstream = upstreams.find(|upstream| &*upstream.config.name == name);
    let known = upstream.is_some_and(|it| it.set_drained(address, drained, Instant::now()));
    if !known {
        return Err(Problem::new(&kinds::NOT_FOUND));
    }
    tracing::info!(target: "quartet", upstream = name, address = address.to_string(), drained,
        "replica drained, or in use again");
    Ok(StatusCode::NO_CONTENT)
}

async fn list_limits(Extract(state): Extract<Arc<State>>) -> Json<Value> {
    let snapshot = state.snapshot();
    let config = &snapshot.config;
    let limits = config.limits.iter().enumerate();
    let limits: Vec<Value> = limits
        .map(|(index, limit)| describe_limit(index, limit, config))
        .collect();
    let counter = snapshot.shared_counter.as_ref();
    let store = counter.map(|counter| describe_store(&counter.store.describe()));
    Json(json!({
        "limits": limits,
        "keys": state.counter.len(),
        "denied_keys": counter.map(|counter| counter.denied_keys()),
        "store": store,
    }))
}

fn describe_limit(index: usize, limit: &Limit, config: &Config) -> Value {
    let routes = config.routes.routes().iter();
    let routes = routes.filter(|route| route.limits.contains(&index));
    json!({
        "name": &*limit.name,
        "requests": limit.requests,
        "window_seconds": limit.window.as_secs(),
        "burst": limit.burst,
        "key": limit.keys.iter().map(describe_key).collect::<Vec<_>>(),
        "scope": if limit.is_per_route { "route" } else { "shared" },
        "routes": routes.map(|route| describe_limited_route(limit, route)).collect::<Vec<_>>(),
    })
}

fn describe_limited_route(limit: &Limit, route: &Route) -> Value {
    let mode = route.on_store_error.unwrap_or(limit.on_store_error);
    json!({ "name": &*route.name, "on_store_error": mode.as_str() })
}

fn describe_key(key: &LimitKey) -> Value {
    match key {
        LimitKey::User => json!("user"),
        LimitKey::Token => json!("token"),
        LimitKey::ApiKey => json!("api_key"),
        LimitKey::ClientIp => json!("client_ip"),
        LimitKey::Header(name) => json!({ "header": name.as_str() }),
    }
}

fn describe_store(status: &StoreStatus) -> Value {
    let state = match status.is_up {
        None => "connecting",
        Some(true) => "available",
        Some(false) => "unavailable",
    };
    json!({
        "kind": status.kind,
        "state": state,
        "since_ms": status.since.elapsed().as_millis(),
        "address": status.address,
        "clock": if status.passes_time { "gateway" } else { "store" },
        "last_error": status.error,
    })
}
