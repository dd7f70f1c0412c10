//! What every operation works with.

use std::sync::Arc;

use quartet_common::clock::Clock;
use sqlx::PgPool;

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
    pub(crate) hasher: Hasher,
    pub(crate) keys: SigningKeys,
    pub(crate) master_key: MasterKey,
}
