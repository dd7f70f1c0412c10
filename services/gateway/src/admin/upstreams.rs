//! `/upstreams`: replicas, their health, and draining them.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use axum::{
    Json,
    extract::{Path, State as Extract},
};
use http::StatusCode;
use quartet_common::problem::{Problem, kinds};
use serde_json::{Value, json};

use crate::{
    config::{Host, UpstreamTarget},
    state::State,
    upstream::{HealthState, Lookup, Replica, Upstream},
};

pub(super) async fn list_upstreams(Extract(state): Extract<Arc<State>>) -> Json<Value> {
    let snapshot = state.snapshot();
    let upstreams = snapshot.upstreams.iter();
    let upstreams: Vec<Value> = upstreams
        .map(|upstream| describe_upstream(upstream))
        .collect();
    Json(json!({ "upstreams": upstreams }))
}

pub(super) fn describe_upstream(upstream: &Upstream) -> Value {
    let lookups = upstream.lookups();
    let targets = upstream.config.targets.iter().zip(&lookups);
    let targets: Vec<Value> = targets
        .map(|(target, lookup)| {
            let host = match &target.host {
                Host::Ip(ip) => ip.to_string(),
                Host::Name(name) | Host::Service(name) => name.clone(),
                Host::Kubernetes(port) => port.to_string(),
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
    let is_service = matches!(target.host, Host::Service(_) | Host::Kubernetes(_));
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

pub(super) async fn drain(
    Extract(state): Extract<Arc<State>>,
    Path((name, address)): Path<(String, SocketAddr)>,
) -> Result<StatusCode, Problem> {
    set_drained(&state, &name, address, true)
}

pub(super) async fn undrain(
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
