//! `/acme`: the certificates by ACME, and renewing one of them.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State as Extract},
    http::StatusCode,
};
use quartet_common::problem::{Problem, kinds};
use serde_json::{Value, json};

use crate::state::State;

pub(super) async fn list_certificates(Extract(state): Extract<Arc<State>>) -> Json<Value> {
    let statuses = state.snapshot().acme.as_ref().map(|acme| acme.statuses());
    Json(json!({ "certificates": statuses.unwrap_or_default() }))
}

/// 202: it is ordered as soon as no other gateway works on it. `GET /acme` says what came of it.
///
/// # Errors
/// 404 when there is no such certificate.
pub(super) async fn renew_certificate(
    Extract(state): Extract<Arc<State>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let snapshot = state.snapshot();
    let is_known = snapshot.acme.as_ref().is_some_and(|acme| acme.renew(&name));
    if !is_known {
        return Err(Problem::new(&kinds::NOT_FOUND));
    }
    tracing::info!(target: "quartet", certificate = name, "an operator renews a certificate");
    Ok(StatusCode::ACCEPTED)
}
