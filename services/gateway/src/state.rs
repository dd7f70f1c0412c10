//! What the running gateway knows: the settings in force, and what outlives them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use quartet_auth::jwt::JwtVerifier;
use quartet_common::{clock::Clock, config::ConfigError};
use quartet_http::health::Readiness;
use quartet_telemetry::metrics::Metrics;
use tokio::sync::Notify;

use crate::{
    config::{
        Config,
        load::{Mistakes, Sources},
        model,
    },
    observe::GatewayMetrics,
    pages::openapi::Documents,
    policy::{Policies, rate_limit::LocalCounter},
    upstream::Upstream,
};

/// The settings in force. A request keeps the one that it began with.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) config: Config,
    /// In the order of the configuration.
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    pub(crate) policies: Policies,
}

/// Shared by every thread of the process.
#[derive(Debug)]
pub(crate) struct State {
    snapshot: ArcSwap<Snapshot>,
    sources: Sources,
    verifier: Option<JwtVerifier>,
    pub(crate) counter: Arc<LocalCounter>,
    pub(crate) clock: Clock,
    pub(crate) metrics: GatewayMetrics,
    pub(crate) documents: Documents,
    pub(crate) connections: Connections,
    pub(crate) readiness: Readiness,
    /// Traces are exported, so every request has a span.
    pub(crate) traced: bool,
    /// New upstreams want to be looked up at once.
    pub(crate) reloaded: Notify,
}

/// Open client connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: AtomicUsize,
    draining: AtomicBool,
    closed: Notify,
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct OpenConnection(Arc<State>);

impl State {
    /// # Errors
    /// When tokens must be verified and nothing says how.
    pub(crate) fn new(config: Config, sources: Sources) -> Result<Arc<Self>, ConfigError> {
        let clock = Clock::system();
        let verifier = verifier(&config.model, clock.clone())?;
        let metrics = GatewayMetrics::new(Metrics::new("gateway"));
        let counter = Arc::new(LocalCounter::new(config.model.server.rate_limit_keys_max));
        let traced = config.model.telemetry.otlp_endpoint.is_some();
        let documents = Documents::new();
        let snapshot = Snapshot::new(config, None, verifier.clone(), &counter);
        Ok(Arc::new_cyclic(|this: &std::sync::Weak<Self>| {
            let this = this.clone();
            let readiness = Readiness::new().check("upstreams", move || {
                let state = this.upgrade();
                async move { state.map_or(Ok(()), |state| state.snapshot().reachable()) }
            });
            Self {
                snapshot: ArcSwap::from_pointee(snapshot),
                sources,
                verifier,
                counter,
                clock,
                metrics,
                documents,
                connections: Connections::default(),
                readiness,
                traced,
                reloaded: Notify::new(),
            }
        }))
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    pub(crate) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Puts new settings in force for all requests that come from now on.
    ///
    /// # Errors
    /// Every mistake in the text; the old settings stay in force.
    pub(crate) fn reload(&self, text: &str) -> Result<(), Mistakes> {
        let before = self.snapshot();
        let config = self.sources.load_text(text)?;
        let fixed = fixed_changes(&before.config.model, &config.model);
        if !fixed.is_empty() {
            tracing::warn!(target: "quartet", settings = fixed.join(", "),
                "these settings have changed and wait for a restart");
        }
        let next = Snapshot::new(config, Some(&before), self.verifier.clone(), &self.counter);
        self.snapshot.store(Arc::new(next));
        self.reloaded.notify_one();
        Ok(())
    }

    /// From now on `/ready` says no, and connections are closed after their request.
    pub(crate) fn begin_drain(&self) {
        self.readiness.set_draining();
        self.connections.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.connections.draining.load(Ordering::Relaxed)
    }

    /// `None` when there are too many already.
    pub(crate) fn open_connection(self: &Arc<Self>, most: usize) -> Option<OpenConnection> {
        let before = self.connections.open.fetch_add(1, Ordering::Relaxed);
        let connection = OpenConnection(Arc::clone(self));
        (before < most).then_some(connection)
    }
}

impl Connections {
    pub(crate) fn count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Waits until no connection is open.
    pub(crate) async fn none_left(&self) {
        loop {
            let closed = self.closed.notified();
            if self.count() == 0 {
                return;
            }
            closed.await;
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let connections = &self.0.connections;
        if connections.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            connections.closed.notify_waiters();
        }
    }
}

impl Snapshot {
    fn new(
        config: Config,
        before: Option<&Self>,
        verifier: Option<JwtVerifier>,
        counter: &Arc<LocalCounter>,
    ) -> Self {
        let upstreams = config
            .upstreams
            .iter()
            .map(|wanted| {
                let known = before.and_then(|before| {
                    before
                        .upstreams
                        .iter()
                        .find(|known| known.config.name == wanted.name)
                });
                match known {
                    Some(known) if known.config == *wanted => Arc::clone(known),
                    known => Arc::new(Upstream::new(wanted.clone(), known.map(|known| &**known))),
                }
            })
            .collect();
        let policies = Policies::new(verifier, Arc::clone(counter), &config.limits);
        Self {
            config,
            upstreams,
            policies,
        }
    }

    /// One upstream with an address is enough: a service that is missing must not take
    /// the others off the net. A gateway that finds nobody is better left out.
    fn reachable(&self) -> Result<(), String> {
        let any = self
            .upstreams
            .iter()
            .any(|upstream| !upstream.replicas().is_empty());
        if any || self.upstreams.is_empty() {
            Ok(())
        } else {
            Err("no upstream has an address".to_owned())
        }
    }

    pub(crate) fn header_timeout(&self) -> Duration {
        Duration::from_secs(self.config.model.server.header_timeout_seconds)
    }
}

/// The verifier, unless no route looks at tokens.
pub(crate) fn verifier(
    model: &model::Model,
    clock: Clock,
) -> Result<Option<JwtVerifier>, ConfigError> {
    let configured = model.jwt.jwks_url.is_some() || model.jwt.hs256_secret.is_some();
    let wanted = model
        .routes
        .values()
        .any(|route| route.enabled && route.auth != model::Auth::Public);
    if !configured && !wanted {
        return Ok(None);
    }
    JwtVerifier::new(&model.jwt, clock).map(Some)
}

/// Settings that a running process cannot take over.
fn fixed_changes(before: &model::Model, after: &model::Model) -> Vec<&'static str> {
    let (old, new) = (&before.server, &after.server);
    let jwt = |model: &model::Model| {
        let jwt = &model.jwt;
        (
            jwt.issuer.clone(),
            jwt.audience.clone(),
            jwt.token_type.clone(),
            jwt.jwks_url.clone(),
        )
    };
    let telemetry = |model: &model::Model| {
        (
            model.telemetry.log.clone(),
            model.telemetry.otlp_endpoint.clone(),
        )
    };
    [
        ("server.listen", old.listen != new.listen),
        ("server.admin_listen", old.admin_listen != new.admin_listen),
        ("server.threads", old.threads != new.threads),
        (
            "server.upstream_pool_size",
            old.upstream_pool_size != new.upstream_pool_size,
        ),
        (
            "server.rate_limit_keys_max",
            old.rate_limit_keys_max != new.rate_limit_keys_max,
        ),
        (
            "server.shutdown_grace_seconds",
            old.shutdown_grace_seconds != new.shutdown_grace_seconds,
        ),
        ("discovery", before.discovery != after.discovery),
        ("jwt", jwt(before) != jwt(after)),
        ("telemetry", telemetry(before) != telemetry(after)),
    ]
    .into_iter()
    .filter_map(|(name, changed)| changed.then_some(name))
    .collect()
}
