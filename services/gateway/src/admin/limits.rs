//! `/limits`.

use std::sync::Arc;

use axum::{Json, extract::State as Extract};
use serde_json::{Value, json};

use crate::{
    config::{Config, Limit, LimitKey},
    policy::rate_limit::StoreStatus,
    routing::Route,
    state::State,
};

pub(super) async fn list_limits(Extract(state): Extract<Arc<State>>) -> Json<Value> {
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

pub(super) fn describe_limit(index: usize, limit: &Limit, config: &Config) -> Value {
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

pub(super) fn describe_store(status: &StoreStatus) -> Value {
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
