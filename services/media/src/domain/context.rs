//! What the operations of the domain work with.

use std::sync::Arc;

use quartet_common::clock::Clock;
use quartet_service::Base;
use sqlx::PgPool;

use crate::{config::Config, metrics::MediaMetrics, store::objects::ObjectStore};

/// Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    pub(crate) db: PgPool,
    pub(crate) metrics: MediaMetrics,
    pub(crate) objects: ObjectStore,
}

impl Context {
    pub(crate) fn new(config: Arc<Config>, base: &Base) -> Self {
        Self {
            objects: ObjectStore::new(&config.s3),
            metrics: MediaMetrics::register(&base.metrics),
            config,
            clock: base.clock.clone(),
            db: base.db.clone(),
        }
    }
}
