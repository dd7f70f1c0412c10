//! What every operation works with.

use std::sync::Arc;

use quartet_common::clock::Clock;
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
