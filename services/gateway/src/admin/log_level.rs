//! `/log-level`.

use std::sync::Arc;

use axum::{Json, extract::State as Extract};
use quartet_common::{
    config::ConfigError,
    problem::{FieldError, Problem},
};
use quartet_http::extract;
use serde::{Deserialize, Serialize};

use crate::state::State;

/// Body of `/log-level`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogFilter {
    log: String,
}

pub(super) async fn log_level(Extract(state): Extract<Arc<State>>) -> Json<LogFilter> {
    let log = state.log_level.get();
    Json(LogFilter { log })
}

/// # Errors
/// 422 when the filter is invalid.
pub(super) async fn set_log_level(
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
