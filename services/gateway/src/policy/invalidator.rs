//! Notes what an unsafe request makes invalid. A step of every route to an upstream while there are
//! caches: the route of a write is often another one than that of the reads.

use std::sync::Arc;

use super::{
    cache::addressed, context::PolicyContext, fetch::CacheAccess, invalidation::Invalidation,
};
use crate::{cache::Cache, request::RequestFacts};

#[derive(Debug)]
pub(super) struct Invalidator {
    caches: Arc<[Arc<Cache>]>,
}

impl Invalidator {
    pub(super) fn new(caches: &[Arc<Cache>]) -> Self {
        Self {
            caches: caches.into(),
        }
    }

    pub(super) fn on_request(&self, facts: &RequestFacts<'_>, context: &mut PolicyContext) {
        if facts.method.is_safe() {
            return;
        }
        context.cache = addressed(facts, |target| target.url()).map(|url| {
            CacheAccess::Invalidation(Invalidation {
                caches: Arc::clone(&self.caches),
                url,
            })
        });
    }
}
