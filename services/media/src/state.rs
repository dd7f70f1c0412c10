//! What every request needs.

use std::sync::Arc;

use axum::extract::FromRef;
use quartet_auth::jwt::JwtVerifier;
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
    pub(crate) verifier: JwtVerifier,
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
        let verifier = JwtVerifier::new(&config.jwt, clock.clone())?;
        let ctx = Context::new(Arc::new(config), pool, clock, metrics);
        Ok(Self { ctx, verifier })
    }

    /// Ready while Postgres and both buckets respond.
    pub fn readiness(&self) -> Readiness {
        let pool = self.ctx.pool.clone();
        let objects = self.ctx.objects.clone();
        Readiness::new()
            .check("database", move || quartet_db::ping(pool.clone()))
            .check("s3", move || {
                let objects = objects.clone();
                async move {
                    objects.probe().await.map_err(|error| {
                        // The error contains internal URLs, so `/ready` does not show it.
                        tracing::warn!(%error, "the object store does not respond");
                        "does not respond".to_owned()
                    })
                }
            })
    }

    pub(crate) fn idempotency(&self) -> Idempotency {
        let ctx = &self.ctx;
        Idempotency {
            pool: ctx.pool.clone(),
            clock: ctx.clock.clone(),
            verifier: self.verifier.clone(),
            // The request bodies of this service contain no secrets.
            hash_key: [0; 32],
        }
    }
}

impl FromRef<AppState> for Context {
    fn from_ref(state: &AppState) -> Self {
        state.ctx.clone()
    }
}

impl FromRef<AppState> for JwtVerifier {
    fn from_ref(state: &AppState) -> Self {
        state.verifier.clone()
    }
}
