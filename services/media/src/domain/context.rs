//! What the operations of the domain work with.

use std::sync::Arc;

use quartet_common::clock::Clock;
use quartet_telemetry::metrics::Metrics;
use sqlx::PgPool;

use crate::{config::Config, metrics::MediaMetrics, store::objects::ObjectStore};

/// Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    pub(crate) pool: PgPool,
    pub(crate) metrics: MediaMetrics,
    pub(crate) objects: ObjectStore,
}

impl Context {
    pub(crate) fn new(config: Arc<Config>, pool: PgPool, clock: Clock, metrics: &Metrics) -> Self {
        Self {
            objects: ObjectStore::new(&config.s3),
            metrics: MediaMetrics::register(metrics),
            config,
            clock,
            pool,
        }
    }
}
