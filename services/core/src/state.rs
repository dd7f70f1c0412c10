//! What every request needs.

use std::sync::Arc;

use axum::extract::FromRef;
use quartet_http::health::Readiness;
use quartet_service::{Base, idempotency::Idempotency};

use crate::{config::Config, domain::Context};

/// Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct AppState {
    pub(crate) base: Base,
    pub(crate) ctx: Context,
}

impl AppState {
    /// # Errors
    /// When a setting is invalid.
    pub(crate) fn new(config: Config, base: Base) -> anyhow::Result<Self> {
        let ctx = Context::new(Arc::new(config), &base)?;
        Ok(Self { base, ctx })
    }

    pub(crate) fn readiness(&self, readiness: Readiness) -> Readiness {
        let (events, keys) = (self.ctx.events.clone(), self.ctx.keys.clone());
        let readiness = readiness.notice("events", move || events.notices());
        readiness.notice("keys", move || keys.notices())
    }

    pub(crate) fn idempotency(&self) -> Idempotency {
        let keys = self.ctx.master_key.derive_all("idempotency", &[]);
        self.base.idempotency(keys.collect())
    }
}

impl FromRef<AppState> for Context {
    fn from_ref(state: &AppState) -> Self {
        state.ctx.clone()
    }
}
