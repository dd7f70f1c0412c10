//! What every request needs, built once at start.

use std::sync::Arc;

use axum::extract::FromRef;
use quartet_auth::jwt::JwtVerifier;
use quartet_common::clock::Clock;
use quartet_service::idempotency::Idempotency;
use quartet_telemetry::metrics::Metrics;
use sqlx::PgPool;

use crate::{
    config::Config,
    domain::{
        Context,
        crypto::{hasher::Hasher, master_key::MasterKey, signing_keys::SigningKeys},
    },
    metrics::CoreMetrics,
};

/// Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct AppState {
    pub(crate) ctx: Context,
}

impl AppState {
    /// # Errors
    /// When a setting breaks a rule; the message names it.
    pub fn new(
        config: Config,
        pool: PgPool,
        clock: Clock,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        config.validate()?;
        let config = Arc::new(config);
        let metrics = CoreMetrics::register(metrics);
        let master_key = MasterKey::new(&config.keys.master_key_bytes()?);
        let verifier = JwtVerifier::with_own_keys(&config.jwt, clock.clone());
        let keys = SigningKeys::new(
            Arc::clone(&config),
            master_key.clone(),
            verifier,
            clock.clone(),
        );
        let hasher = Hasher::new(&config.passwords, metrics.password_hashes.clone())?;
        let ctx = Context {
            config,
            clock,
            pool,
            metrics,
            hasher,
            keys,
            master_key,
        };
        Ok(Self { ctx })
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
