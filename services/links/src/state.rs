//! What every request needs.

use std::sync::Arc;

use axum::extract::FromRef;
use http::HeaderName;
use quartet_auth::jwt::JwtVerifier;
use quartet_common::clock::Clock;
use quartet_http::health::Readiness;
use quartet_telemetry::metrics::Metrics;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{config::Config, domain::Context};

/// Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct AppState {
    pub(crate) ctx: Context,
    pub(crate) verifier: JwtVerifier,
    pub(crate) country_header: Option<HeaderName>,
    /// Canceled when the process shuts down, which ends streams.
    pub(crate) shutdown: CancellationToken,
}

impl AppState {
    /// # Errors
    /// When a setting is invalid or the click log cannot be created.
    pub fn new(
        config: Config,
        pool: PgPool,
        clock: Clock,
        metrics: &Metrics,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        use anyhow::Context as _;
        config.validate()?;
        let verifier = JwtVerifier::new(&config.jwt, clock.clone())?;
        let country_header = config.clicks.country_header()?;
        let log_dir = config.clicks.log_dir.display().to_string();
        let ctx = Context::new(Arc::new(config), pool, clock, metrics)
            .with_context(|| format!("the click log in {log_dir} cannot be created"))?;
        Ok(Self {
            ctx,
            verifier,
            country_header,
            shutdown,
        })
    }

    /// Ready while Postgres responds and the last click could be logged. A replica that is not ready
    /// still redirects, as far as `clicks.when_log_is_full` allows.
    pub fn readiness(&self) -> Readiness {
        let log = self.ctx.click_log.clone();
        let pool = self.ctx.pool.clone();
        Readiness::new()
            .check("database", move || quartet_db::ping(pool.clone()))
            .check("click_log", move || {
                let is_failing = log.is_failing();
                async move {
                    if is_failing {
                        return Err("cannot be written".to_owned());
                    }
                    Ok(())
                }
            })
    }
}

impl FromRef<AppState> for JwtVerifier {
    fn from_ref(state: &AppState) -> Self {
        state.verifier.clone()
    }
}
