//! What every request needs.

use std::sync::Arc;

use axum::extract::FromRef;
use quartet_auth::jwt::JwtVerifier;
use quartet_events::{Inbox, Nats};
use quartet_http::health::Readiness;
use quartet_service::{Base, idempotency::Idempotency};

use crate::{config::Config, domain::Context};

/// Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct AppState {
    pub(crate) base: Base,
    pub(crate) ctx: Context,
    pub(crate) inbox: Inbox,
    /// Where events are taken from, if not from requests.
    pub(crate) nats: Option<Nats>,
}

impl AppState {
    /// # Errors
    /// When a setting is invalid.
    pub(crate) fn new(config: Config, base: Base) -> anyhow::Result<Self> {
        let signer = config.events.signer()?;
        let nats = config.events.nats()?;
        let ctx = Context::new(Arc::new(config), &base);
        let (db, clock) = (ctx.db.clone(), ctx.clock.clone());
        let inbox = Inbox::new(db, clock, signer, &base.metrics, ctx.erasures.clone());
        Ok(Self {
            base,
            ctx,
            inbox,
            nats,
        })
    }

    /// Ready while both buckets respond, too.
    pub(crate) fn readiness(&self, readiness: Readiness) -> Readiness {
        let objects = self.ctx.objects.clone();
        let inbox = self.inbox.clone();
        let readiness = readiness.notice("events", move || inbox.notices());
        readiness.check("s3", move || {
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
        // The request bodies of this service contain no secrets.
        self.base.idempotency(vec![[0; 32]])
    }
}

impl FromRef<AppState> for Context {
    fn from_ref(state: &AppState) -> Self {
        state.ctx.clone()
    }
}

impl FromRef<AppState> for JwtVerifier {
    fn from_ref(state: &AppState) -> Self {
        state.base.verifier.clone()
    }
}
