//! Puts a service together: its base, and its routes behind the layers.

use std::sync::Arc;

use axum::Router;
use quartet_common::{clock::Clock, config::ConfigError};
use quartet_http::{
    health::{self, Readiness},
    layers::{Stack, standard},
};
use quartet_telemetry::metrics::Metrics;
use tokio_util::sync::CancellationToken;

use crate::{
    base::Base,
    documents,
    service::{Service, Settings, check},
};

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
        check(config)?;
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
}
