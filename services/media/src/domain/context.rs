//! What the operations of the domain work with.

use std::{sync::Arc, time::Duration};

use quartet_common::clock::Clock;
use quartet_events::Erasures;
use quartet_service::Base;
use sqlx::PgPool;

use crate::{
    config::Config, domain::verifications::Verifications, metrics::MediaMetrics,
    store::objects::ObjectStore,
};

/// Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    pub(crate) db: PgPool,
    pub(crate) metrics: MediaMetrics,
    pub(crate) objects: ObjectStore,
    pub(crate) verifications: Verifications,
    pub(crate) erasures: Erasures,
}

impl Context {
    pub(crate) fn new(config: Arc<Config>, base: &Base) -> Self {
        // Less than the time for a response, so that the client learns what it waits for.
        let patience = Duration::from_secs(base.server.request_timeout_seconds) * 2 / 3;
        Self {
            verifications: Verifications::new(base.detached.clone(), patience),
            erasures: Erasures::new(base.db.clone(), base.clock.clone()),
            objects: ObjectStore::new(&config.s3),
            metrics: MediaMetrics::register(&base.metrics),
            config,
            clock: base.clock.clone(),
            db: base.db.clone(),
        }
    }
}
