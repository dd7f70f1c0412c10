//! The part of the state that every service has.

use std::{sync::Arc, time::Duration};

use quartet_auth::jwt::JwtVerifier;
use quartet_common::{
    clock::Clock,
    config::{Server, Worker},
};
use quartet_db::{Databases, Reads};
use quartet_telemetry::metrics::Metrics;
use sqlx::PgPool;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::idempotency::Idempotency;

/// Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Base {
    pub clock: Clock,
    /// Connects when it is first used.
    pub db: PgPool,
    /// For reads that may be old.
    pub reads: Reads,
    /// Opens further pools, whose credentials change with those of `db`.
    pub databases: Databases,
    pub verifier: JwtVerifier,
    pub metrics: Metrics,
    pub server: Arc<Server>,
    /// For the queue of durable jobs.
    pub queue_db: PgPool,
    pub worker: Worker,
    /// Requests that run on although their clients may have left.
    pub running: TaskTracker,
    /// Canceled when the process shuts down.
    pub shutdown: CancellationToken,
}

impl Base {
    /// `hash_keys` key the hashes of request bodies, which may hold secrets; the newest first.
    pub fn idempotency(&self, hash_keys: Vec<[u8; 32]>) -> Idempotency {
        Idempotency {
            db: self.db.clone(),
            clock: self.clock.clone(),
            verifier: self.verifier.clone(),
            hash_keys,
            time_limit: Duration::from_secs(self.server.request_timeout_seconds),
            running: self.running.clone(),
        }
    }
}
