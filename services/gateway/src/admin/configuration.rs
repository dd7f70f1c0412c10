//! `/config` and `/reload`.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State as Extract};
use quartet_common::problem::{FieldError, Problem};
use serde::Serialize;
use serde_json::Value;

use crate::{
    config::shown,
    error,
    reloads::{Fault, Outcome},
    state::State,
    status::ConfigStatus,
};

/// A file that is being written for longer makes a reload fail. Below the time-out of all requests.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(8);

/// The configuration in force.
#[derive(Debug, Serialize)]
pub(super) struct ShownConfig {
    #[serde(flatten)]
    status: ConfigStatus,
    /// Without secrets.
    settings: Value,
}

pub(super) async fn show(Extract(state): Extract<Arc<State>>) -> Json<ShownConfig> {
    let status = describe(&state);
    let settings = shown::show(&state.snapshot().config.settings).settings;
    Json(ShownConfig { status, settings })
}

/// What is known of the configuration in force, apart from its settings.
pub(super) fn describe(state: &State) -> ConfigStatus {
    ConfigStatus {
        hash: Arc::clone(&state.snapshot().config.hash),
        in_force_since: state.reloads.in_force_since(),
        waiting_for_restart: state.waiting_for_restart(),
        last_reload: state.reloads.last(),
    }
}

/// As SIGHUP, and says how it ended. Requests at the same time share one reload.
///
/// # Errors
/// 422 with every error when the configuration is refused, 409 when the files keep changing.
pub(super) async fn reload(
    Extract(state): Extract<Arc<State>>,
) -> Result<Json<ConfigStatus>, Problem> {
    let Some(attempt) = state.reloads.request(RELOAD_TIMEOUT).await else {
        let seconds = RELOAD_TIMEOUT.as_secs();
        let detail =
            format!("the files could not be read twice without a difference within {seconds} s");
        return Err(Problem::new(&error::CONFIGURATION_CHANGING).detail(detail));
    };
    match &attempt.outcome {
        Outcome::Applied { .. } => Ok(Json(describe(&state))),
        Outcome::Refused { errors } => Err(refused(errors)),
    }
}

fn refused(errors: &[Fault]) -> Problem {
    let errors = errors.iter().map(|fault| FieldError {
        pointer: None,
        parameter: fault.key.clone(),
        code: fault.code,
        detail: fault.message.clone(),
    });
    Problem::new(&error::CONFIGURATION_REFUSED)
        .detail("the configuration before stays in force")
        .errors(errors.collect())
}
