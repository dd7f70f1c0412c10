//! Puts a service together: its base, and its routes behind the layers.

use std::sync::Arc;

use quartet_common::{
    clock::Clock,
    config::{ConfigError, Database},
};
use quartet_db::{Databases, Reads};
use quartet_http::{
    front::App,
    health::{self, Readiness},
    layers::{Stack, standard},
    tls::ServiceTls,
};
use quartet_telemetry::metrics::Metrics;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    base::Base,
    documents,
    service::{Service, Settings, check},
};

/// To take jobs, to note their end, and to say that the worker lives.
const QUEUE_CONNECTIONS: u32 = 3;

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
        let databases = Databases::default();
        let application = format!("quartet-{}", S::NAME);
        let db = databases.open("database.url", sections.database, &application)?;
        let queue = Database {
            max_connections: QUEUE_CONNECTIONS,
            ..sections.database.clone()
        };
        let queue_db = databases.open("database.url", &queue, &format!("{application}-queue"))?;
        let reads = format!("{application}-reads");
        Ok(Self {
            reads: Reads::open(&databases, db.clone(), sections.database, &reads)?,
            db,
            databases,
            queue_db,
            worker: sections.worker.clone(),
            verifier: S::verifier(config, &clock)?,
            metrics: Metrics::new(S::NAME),
            server: Arc::new(sections.server.clone()),
            tls: ServiceTls::open(sections.server)?,
            detached: TaskTracker::new(),
            clock,
            shutdown,
        })
    }

    /// The service's routes and its document behind the layers, with the probes beside them.
    pub fn app<S: Service>(&self, state: S::State, readiness: Readiness) -> App {
        let stack = Stack::new(self.clock.clone(), self.metrics.clone(), &self.server);
        let front = S::front(&state);
        let routes = S::routes(state).merge(documents::router::<S>());
        let router = standard(routes, stack.clone(), &self.server)
            .merge(health::router(readiness, self.metrics.clone()));
        match front {
            Some(front) => App::from(router).with_front(front, stack),
            None => router.into(),
        }
    }

    /// The probes alone, for a process without an API.
    pub fn probes(&self, readiness: Readiness) -> App {
        health::router(readiness, self.metrics.clone()).into()
    }

    /// Ready while what the service adds responds, Postgres does, unless the service works without
    /// it, and tokens can be verified.
    pub fn readiness<S: Service>(&self, state: &S::State) -> Readiness {
        let db = self.db.clone();
        let ping = move || quartet_db::ping(db.clone());
        let readiness = if S::WORKS_WITHOUT_DATABASE {
            Readiness::new().inform("database", ping)
        } else {
            Readiness::new().check("database", ping)
        };
        S::readiness(state, self.keys::<S>(readiness))
    }

    /// Adds the keys that verify tokens, if they are fetched from elsewhere.
    fn keys<S: Service>(&self, readiness: Readiness) -> Readiness {
        if !self.verifier.fetches_keys() {
            return readiness;
        }
        let verifier = self.verifier.clone();
        let readiness = readiness.notice("keys", move || verifier.notices());
        if !S::KEYS_REQUIRED {
            return readiness;
        }
        let verifier = self.verifier.clone();
        readiness.check("keys", move || {
            let verifier = verifier.clone();
            async move { verifier.ready().await.map_err(|error| error.to_string()) }
        })
    }
}
