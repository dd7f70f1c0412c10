//! The part of the state that every service has.

use std::{sync::Arc, time::Duration};

use quartet_auth::jwt::JwtVerifier;
use quartet_common::{
    clock::Clock,
    config::{Server, Worker},
};
use quartet_db::{Databases, Reads};
use quartet_http::tls::ServiceTls;
use quartet_telemetry::metrics::Metrics;
use sqlx::PgPool;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::idempotency::Idempotency;

/// How long durable work in steps begins further ones.
const STEPS_LIMIT: Duration = Duration::from_mins(10);

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
    /// `None`: the service serves plain HTTP.
    pub tls: Option<ServiceTls>,
    /// For the queue of durable jobs.
    pub queue_db: PgPool,
    pub worker: Worker,
    /// Work that outlives its client: writes with idempotency keys, password checks.
    pub detached: TaskTracker,
    /// Canceled when the process shuts down.
    pub shutdown: CancellationToken,
}

impl Base {
    /// Whether durable work in steps should leave the rest to its next run, from now on: at shutdown,
    /// and in time before [`quartet_worker::Task::TIME_LIMIT`], which would make it a failure.
    pub fn stopping(&self) -> impl Fn() -> bool + use<> {
        let (clock, shutdown) = (self.clock.clone(), self.shutdown.clone());
        let until = clock.now() + STEPS_LIMIT;
        move || shutdown.is_cancelled() || clock.now() >= until
    }

    /// `hash_keys` key the hashes of request bodies, which may hold secrets; the newest first.
    pub fn idempotency(&self, hash_keys: Vec<[u8; 32]>) -> Idempotency {
        Idempotency {
            db: self.db.clone(),
            clock: self.clock.clone(),
            verifier: self.verifier.clone(),
            hash_keys,
            time_limit: Duration::from_secs(self.server.request_timeout_seconds),
            detached: self.detached.clone(),
        }
    }
}
