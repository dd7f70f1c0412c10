//! What every request needs.

use std::sync::Arc;

use axum::extract::FromRef;
use quartet_common::clock::Clock;
use quartet_http::health::Readiness;
use quartet_service::idempotency::Idempotency;
use quartet_telemetry::metrics::Metrics;
use sqlx::PgPool;

use crate::{config::Config, domain::Context};

/// Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct AppState {
    pub(crate) ctx: Context,
}

impl AppState {
    /// # Errors
    /// When a setting is invalid; the message names it.
    pub fn new(
        config: Config,
        pool: PgPool,
        clock: Clock,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        config.validate()?;
        let ctx = Context::new(Arc::new(config), pool, clock, metrics)?;
        Ok(Self { ctx })
    }

    /// Ready while Postgres responds.
    pub fn readiness(&self) -> Readiness {
        let pool = self.ctx.pool.clone();
        Readiness::new().check("database", move || quartet_db::ping(pool.clone()))
    }

    pub(crate) fn idempotency(&self) -> Idempotency {
        let ctx = &self.ctx;
        Idempotency {
            pool: ctx.pool.clone(),
            clock: ctx.clock.clone(),
            verifier: ctx.keys.verifier().clone(),
            hash_key: ctx.master_key.derive("idempotency", &[]),
        }
    }
}

impl FromRef<AppState> for Context {
    fn from_ref(state: &AppState) -> Self {
        state.ctx.clone()
    }
}
