//! What every request needs.

use std::sync::Arc;

use axum::extract::FromRef;
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
    /// When a setting is invalid, or the click log cannot be created.
    pub(crate) fn new(config: Config, base: Base) -> anyhow::Result<Self> {
        let signer = config.events.signer()?;
        let nats = config.events.nats()?;
        let ctx = Context::new(Arc::new(config), &base)?;
        let (db, clock) = (ctx.clicks_db.clone(), ctx.clock.clone());
        let inbox = Inbox::new(db, clock, signer, &base.metrics, ctx.erasures.clone());
        Ok(Self {
            base,
            ctx,
            inbox,
            nats,
        })
    }

    pub(crate) fn idempotency(&self) -> Idempotency {
        // The request bodies of this service contain no secrets.
        self.base.idempotency(vec![[0; 32]])
    }

    /// Redirects are the main work, and they go on without Postgres: only the click log decides. A
    /// replica that is not ready still redirects, as far as `clicks.when_log_is_full` allows.
    pub(crate) fn readiness(&self, readiness: Readiness) -> Readiness {
        let log = self.ctx.click_log.clone();
        let inbox = self.inbox.clone();
        let readiness = readiness.notice("events", move || inbox.notices());
        readiness.check("click_log", move || {
            let log = log.clone();
            async move { log.probe().await.map_err(str::to_owned) }
        })
    }
}

impl FromRef<AppState> for Context {
    fn from_ref(state: &AppState) -> Self {
        state.ctx.clone()
    }
}
