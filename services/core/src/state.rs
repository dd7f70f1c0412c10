//! What every request needs, put together once.

use std::sync::Arc;

use quartet_auth::jwt::JwtVerifier;
use quartet_common::clock::Clock;
use quartet_service::idempotency::Idempotency;
use quartet_telemetry::metrics::Metrics;
use sqlx::PgPool;

use crate::{
    config::Config,
    domain::{desk::Desk, hasher::Hasher, keys::SigningKeys, secrets::MasterKey},
    metrics::CoreMetrics,
};

/// Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct AppState {
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    pub(crate) pool: PgPool,
    pub(crate) keys: SigningKeys,
    pub(crate) hasher: Hasher,
    pub(crate) master_key: MasterKey,
    pub(crate) metrics: CoreMetrics,
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
        let metrics = CoreMetrics::register(metrics);
        let master_key = MasterKey::parse(&config.keys.master_key)?;
        let verifier = JwtVerifier::with_own_keys(&config.jwt, clock.clone());
        let config = Arc::new(config);
        let keys = SigningKeys::new(
            Arc::clone(&config),
            master_key.clone(),
            verifier,
            clock.clone(),
        );
        let hasher = Hasher::new(&config.passwords, metrics.password_hashes.clone())?;
        Ok(Self {
            config,
            clock,
            pool,
            keys,
            hasher,
            master_key,
            metrics,
        })
    }

    pub(crate) fn desk(&self) -> Desk<'_> {
        Desk {
            pool: &self.pool,
            hasher: &self.hasher,
            keys: &self.keys,
            master_key: &self.master_key,
            metrics: &self.metrics,
            clock: &self.clock,
            config: &self.config,
        }
    }

    pub(crate) fn idempotency(&self) -> Idempotency {
        Idempotency {
            pool: self.pool.clone(),
            clock: self.clock.clone(),
            verifier: self.keys.verifier().clone(),
            hash_key: self.master_key.derive("idempotency", &[]),
        }
    }
}
