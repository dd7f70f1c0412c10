//! What the operations of the domain work with.

use std::sync::Arc;

use anyhow::Context as _;
use quartet_common::clock::Clock;
use quartet_events::{Outbox, Signer};
use quartet_service::Base;
use sqlx::PgPool;
use tokio_util::task::TaskTracker;

use crate::{
    config::Config,
    domain::crypto::{hasher::Hasher, master_key::MasterKey, signing_keys::SigningKeys},
    metrics::CoreMetrics,
};

/// Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    pub(crate) db: PgPool,
    pub(crate) metrics: CoreMetrics,
    pub(crate) events: Outbox,
    /// Verifies requests of other parts of Quartet. `None`: there is no secret.
    pub(crate) signer: Option<Signer>,
    pub(crate) hasher: Hasher,
    pub(crate) keys: SigningKeys,
    pub(crate) master_key: MasterKey,
    /// Work that ends even if its client disconnects.
    pub(crate) detached: TaskTracker,
}

impl Context {
    /// # Errors
    /// When the master key, the argon2 parameters or the settings of events are invalid.
    pub(crate) fn new(config: Arc<Config>, base: &Base) -> anyhow::Result<Self> {
        let metrics = CoreMetrics::register(&base.metrics);
        let master_key = MasterKey::new(
            &config.keys.master_key_bytes()?,
            &config.keys.previous_master_key_bytes()?,
        );
        let delivery = config.events.delivery()?;
        let signer = delivery.signer.clone();
        let (db, clock) = (base.db.clone(), base.clock.clone());
        let events = Outbox::new("core", delivery, db, clock, &base.metrics)
            .context("events cannot be sent")?;
        Ok(Self {
            events,
            signer,
            hasher: Hasher::new(&config.passwords, &metrics)?,
            keys: SigningKeys::new(
                Arc::clone(&config),
                master_key.clone(),
                base.verifier.clone(),
                base.clock.clone(),
                metrics.unusable_keys.clone(),
            ),
            config,
            clock: base.clock.clone(),
            db: base.db.clone(),
            metrics,
            master_key,
            detached: base.detached.clone(),
        })
    }
}
