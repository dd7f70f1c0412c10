//! What every request needs, built once at start.

use std::sync::Arc;

use axum::extract::FromRef;
use quartet_service::{Base, idempotency::Idempotency};

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
    pub(crate) base: Base,
    pub(crate) ctx: Context,
}

impl AppState {
    pub(crate) fn new(config: Config, base: Base) -> anyhow::Result<Self> {
        let config = Arc::new(config);
        let metrics = CoreMetrics::register(&base.metrics);
        let master_key = MasterKey::new(&config.keys.master_key_bytes()?);
        let keys = SigningKeys::new(
            Arc::clone(&config),
            master_key.clone(),
            base.verifier.clone(),
            base.clock.clone(),
        );
        let hasher = Hasher::new(&config.passwords, metrics.password_hashes.clone())?;
        let ctx = Context {
            config,
            clock: base.clock.clone(),
            db: base.db.clone(),
            metrics,
            hasher,
            keys,
            master_key,
        };
        Ok(Self { base, ctx })
    }

    pub(crate) fn idempotency(&self) -> Idempotency {
        self.base
            .idempotency(self.ctx.master_key.derive("idempotency", &[]))
    }
}

impl FromRef<AppState> for Context {
    fn from_ref(state: &AppState) -> Self {
        state.ctx.clone()
    }
}
