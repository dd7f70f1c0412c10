//! The admin port: metrics, health, and what the gateway knows. Never public.
//!
//! `/ready` says 200 while the process is not draining and at least one upstream has an
//! address. It does not ask the upstreams: one that is down gives 503 on its own routes,
//! and must not take the gateway, and with it the others, off the net.

use std::{net::TcpListener, sync::Arc, time::Instant};

use axum::{
    Json, Router, extract::State as Extract, http::header, response::IntoResponse, routing::get,
};
use serde_json::{Value, json};

use crate::{
    config::{Host, model::Auth},
    routing::{Action, Route},
    state::{Snapshot, State},
    upstream::{Replica, Upstream, discovery::Lookup, health_state},
};

/// Answers until the process ends: probes want to hear "not ready" to the last.
pub(crate) async fn serve(listener: TcpListener, state: Arc<State>) {
    let served = async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        axum::serve(listener, router(state)).await
    };
    if let Err(error) = served.await {
        tracing::error!(target: "quartet", %error, "the admin port does not answer any more");
    }
}

fn router(state: Arc<State>) -> Router {
    let own = Router::new()
        .route("/routes", get(list_routes))
        .route("/upstreams", get(list_upstreams))
        .route("/metrics", get(show_metrics))
        .with_state(Arc::clone(&state));
    let probes = Router::new()
        .route("/health", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/ready", get(ready))
        .with_state(state);
    own.merge(probes)
}

async fn ready(Extract(state): Extract<Arc<State>>) -> impl IntoResponse {
    let report = state.readiness.report().await;
    let status = if report.status == "ready" {
        axum::http::StatusCode::OK
    } else {
        axum::http::StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(report))
}

async fn show_metrics(Extract(state): Extract<Arc<State>>) -> impl IntoResponse {
    state.metrics.update(&state);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], state.metrics.http.render())
}

async fn list_routes(Extract(state): Extract<Arc<State>>) -> Json<Value> {
    let snapshot = state.snapshot();
    let routes = snapshot.config.routes.routes().iter();
    Json(json!({ "routes": routes.map(|route| describe(route, &snapshot)).collect::<Vec<_>>() }))
}

/// A route as `/routes` and the `routes` command show it.
pub(crate) fn describe_route(route: &Route, upstreams: &[&str], limits: &[&str]) -> Value {
    let action = match route.action {
        Action::Proxy(index) => json!({ "upstream": upstreams.get(index) }),
        Action::Serve(serve) => json!({ "serve": format!("{serve:?}").to_lowercase() }),
    };
    json!({
        "name": &*route.name,
        "hosts": route.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "paths": route.paths.iter().map(|path| &*path.text).collect::<Vec<_>>(),
        "methods": route.methods.iter().map(http::Method::as_str).collect::<Vec<_>>(),
        "priority": route.priority,
        "answers": action,
        "auth": match route.auth {
            Auth::Public => "public",
            Auth::Optional => "optional",
            Auth::Required => "required",
        },
        "limit": route.limit.and_then(|index| limits.get(index)),
        "upgrade": route.upgrade,
        "body_limit_bytes": route.body_limit_bytes,
    })
}

fn describe(route: &Route, snapshot: &Snapshot) -> Value {
    let config = &snapshot.config;
    let upstreams: Vec<&str> = config
        .upstreams
        .iter()
        .map(|upstream| &*upstream.name)
        .collect();
    let limits: Vec<&str> = config.limits.iter().map(|limit| &*limit.name).collect();
    describe_route(route, &upstreams, &limits)
}

async fn list_upstreams(Extract(state): Extract<Arc<State>>) -> Json<Value> {
    let upstreams: Vec<Value> = state
        .snapshot()
        .upstreams
        .iter()
        .map(|u| upstream(u))
        .collect();
    Json(json!({ "upstreams": upstreams }))
}

fn upstream(upstream: &Upstream) -> Value {
    let lookups = upstream.lookups();
    let targets: Vec<Value> = upstream
        .config
        .targets
        .iter()
        .zip(&lookups)
        .map(|(target, lookup)| {
            let host = match &target.host {
                Host::Address(address) => address.to_string(),
                Host::Name(name) => name.clone(),
            };
            describe_lookup(&host, target.port, lookup)
        })
        .collect();
    json!({
        "name": &*upstream.config.name,
        "replicas": upstream.replicas().iter().map(|r| replica(r)).collect::<Vec<_>>(),
        "targets": targets,
    })
}

fn replica(replica: &Replica) -> Value {
    let (state, left_out_ms) = health_state(replica, Instant::now());
    json!({ "address": replica.address, "state": state, "left_out_ms": left_out_ms })
}

fn describe_lookup(host: &str, port: u16, lookup: &Lookup) -> Value {
    json!({
        "host": host,
        "port": port,
        "addresses": lookup.addresses,
        "answered_ms_ago": lookup.answered.map(|at| at.elapsed().as_millis()),
        "error": lookup.error,
    })
}
