//! `/acme`: the certificates by ACME, and renewing one of them.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State as Extract},
    http::StatusCode,
};
use quartet_common::problem::{Problem, kinds};
use quartet_http::extract::Query;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::state::State;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RenewQuery {
    /// In place of the stored one.
    #[serde(default)]
    new_account: bool,
}

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
    Query(query): Query<RenewQuery>,
) -> Result<StatusCode, Problem> {
    let snapshot = state.snapshot();
    let acme = snapshot.acme.as_ref();
    let is_known = acme.is_some_and(|acme| acme.renew(&name, query.new_account));
    if !is_known {
        return Err(Problem::new(&kinds::NOT_FOUND));
    }
    tracing::info!(target: "quartet", certificate = name, new_account = query.new_account,
        "an operator renews a certificate");
    Ok(StatusCode::ACCEPTED)
}
