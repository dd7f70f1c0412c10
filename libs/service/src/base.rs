//! The part of the state that every service has.

use std::sync::Arc;

use axum::Router;
use quartet_auth::jwt::JwtVerifier;
use quartet_common::{
    clock::Clock,
    config::{ConfigError, Server},
};
use quartet_http::{
    health::{self, Readiness},
    layers::{Stack, standard},
};
use quartet_telemetry::metrics::Metrics;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{Service, Settings, documents, idempotency::Idempotency};

/// Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Base {
    pub clock: Clock,
    /// Connects when it is first used.
    pub db: PgPool,
    pub verifier: JwtVerifier,
    pub metrics: Metrics,
    pub server: Arc<Server>,
    /// Canceled when the process shuts down.
    pub shutdown: CancellationToken,
}

impl Base {
    /// Checks the settings and opens the pool; connects to nothing.
    ///
    /// # Errors
    /// When a setting is invalid.
    pub fn new<S: Service>(
        config: &S::Config,
        clock: Clock,
        shutdown: CancellationToken,
    ) -> Result<Self, ConfigError> {
        let sections = config.sections();
        sections.check()?;
        config.check()?;
        Ok(Self {
            db: quartet_db::pool(sections.database, &format!("quartet-{}", S::NAME))?,
            verifier: S::verifier(config, &clock)?,
            metrics: Metrics::new(S::NAME),
            server: Arc::new(sections.server.clone()),
            clock,
            shutdown,
        })
    }

    /// The service's routes and its document behind the layers, with the probes beside them.
    pub fn app<S: Service>(&self, state: S::State, readiness: Readiness) -> Router {
        let stack = Stack::new(self.clock.clone(), self.metrics.clone(), &self.server);
        let routes = S::routes(state).merge(documents::router::<S>());
        standard(routes, stack, &self.server).merge(health::router(readiness, self.metrics.clone()))
    }

    /// Ready while Postgres and what the service adds respond.
    pub fn readiness<S: Service>(&self, state: &S::State) -> Readiness {
        let db = self.db.clone();
        let readiness = Readiness::new().check("database", move || quartet_db::ping(db.clone()));
        S::readiness(state, readiness)
    }

    /// `hash_key` keys the hashes of request bodies, which may hold secrets.
    pub fn idempotency(&self, hash_key: [u8; 32]) -> Idempotency {
        Idempotency {
            db: self.db.clone(),
            clock: self.clock.clone(),
            verifier: self.verifier.clone(),
            hash_key,
        }
    }
}
