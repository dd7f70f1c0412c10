//! Shared by every thread: the snapshot in force, and what outlives it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
#[cfg(feature = "kubernetes")]
use chrono::SecondsFormat;
use quartet_common::{
    clock::Clock,
    config::{ConfigError, ConfigTexts, Settings},
};
use quartet_http::health::Readiness;
use quartet_jobs::Runner;
use quartet_telemetry::{LogLevel, metrics::Metrics};
use tokio::sync::{Notify, SetOnce};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{
        Config,
        load::Sources,
        model::{AcceptedWith, Listen},
        restart::restart_required,
    },
    listener::Connections,
    metrics::GatewayMetrics,
    pages::{deep_health::DeepHealth, openapi::Documents},
    policy::rate_limit::LocalCounter,
    pulse::Pulse,
    refusals::Refusals,
    reloads::Reloads,
    revocations::Revocations,
    snapshot::{Snapshot, SnapshotContext},
    tls::Certificates,
    upstream::Pool,
};
#[cfg(feature = "kubernetes")]
use crate::{
    config::{model::Model, overlay::RefusedEntries},
    kubernetes::Cluster,
};

/// A new process is not ready without the documents that its routes validate against; after this time, it
/// is: a service that is away must not keep the gateway from serving the others.
const DOCUMENTS_WAIT: Duration = Duration::from_secs(10);

/// The state of the process.
#[derive(Debug)]
pub(crate) struct State {
    snapshot: Arc<ArcSwap<Snapshot>>,
    /// The settings with which the process was started.
    started: Settings,
    /// The listeners that are open: a reload changes the list, but not them.
    listeners: Vec<Listen>,
    /// The texts of the first snapshot.
    pub(crate) in_force: ConfigTexts,
    /// Those of the snapshot in force. Held while another one is built, so that no change is lost.
    texts: Mutex<ConfigTexts>,
    #[cfg(feature = "kubernetes")]
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) sources: Sources,
    pub(crate) counter: Arc<LocalCounter>,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) clock: Clock,
    pub(crate) metrics: GatewayMetrics,
    pub(crate) documents: Documents,
    pub(crate) deep_health: DeepHealth,
    /// Of the public listeners.
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) connections: Arc<Connections>,
    /// Idle connections of the direct path.
    pub(crate) pool: Pool,
    pub(crate) refusals: Refusals,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) readiness: Readiness,
    /// Set once the public listeners are open.
    pub(crate) listening: SetOnce<()>,
    pub(crate) log_level: LogLevel,
    pub(crate) reloads: Reloads,
    /// Wakes the discovery of upstreams after a reload.
    pub(crate) reloaded: Arc<Notify>,
}

impl State {
    /// The state, and the runner of its jobs.
    ///
    /// # Errors
    /// When a route verifies tokens, and `[jwt]` is incomplete.
    pub(crate) fn new(
        config: Config,
        in_force: ConfigTexts,
        sources: Sources,
        log_level: LogLevel,
    ) -> Result<(Arc<Self>, Runner), ConfigError> {
        let clock = Clock::system();
        let metrics = GatewayMetrics::new(Metrics::new("gateway"));
        let counter = Arc::new(LocalCounter::new(config.model.server.max_rate_limit_keys));
        let revocations = Revocations::new(clock.clone());
        let started = config.settings.clone();
        let server = &config.model.server;
        let listeners = server.listen.clone();
        let pool = Pool::new(server.worker_threads(), server.upstream_pool_size);
        let certificates = Certificates::new();
        let shared = SnapshotContext {
            clock: &clock,
            counter: &counter,
            revocations: &revocations,
            metrics: &metrics,
            certificates: &certificates,
        };
        let snapshot = Snapshot::build(config, None, shared)?;
        certificates.set_files(|| snapshot.certificate_table());
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        let (following, feed) = (Arc::clone(&snapshot), Arc::clone(&revocations));
        let jobs = Runner::new(&metrics.http, clock.clone(), CancellationToken::new());
        let monitor = jobs.monitor();
        let pulse = Pulse::new();
        let readiness = readiness(&snapshot, &pulse)
            .notice("revocations", move || following.load().feed_notices(&feed))
            .notice("jobs", move || monitor.notices());
        let (certified, time) = (Arc::clone(&snapshot), clock.clone());
        let readiness = readiness.notice("certificates", move || {
            certified.load().certificate_notices(time.now())
        });
        #[cfg(feature = "kubernetes")]
        let cluster = Cluster::new(metrics.kubernetes.clone());
        #[cfg(feature = "kubernetes")]
        let readiness = watch_cluster(readiness, &snapshot, &cluster);
        metrics.set_config_hash(None, &snapshot.load().config.hash);
        let reloads = Reloads::new(clock.now());
        let state = Arc::new(Self {
            snapshot,
            started,
            listeners,
            texts: Mutex::new(in_force.clone()),
            #[cfg(feature = "kubernetes")]
            cluster,
            in_force,
            sources,
            counter,
            revocations,
            clock,
            documents: Documents::new(),
            deep_health: DeepHealth::new(),
            certificates,
            connections: Connections::new(metrics.connections.clone()),
            refusals: Refusals::new(metrics.log_lines_skipped.clone()),
            pool,
            pulse,
            metrics,
            readiness,
            listening: SetOnce::new(),
            log_level,
            reloads,
            reloaded: Arc::new(Notify::new()),
        });
        Ok((state, jobs))
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Replaces a snapshot that is no longer in force. Costs nothing that threads share if it is.
    pub(crate) fn refresh(&self, known: &mut Arc<Snapshot>) {
        let current = self.snapshot.load();
        if !Arc::ptr_eq(&current, known) {
            *known = Arc::clone(&current);
        }
    }

    /// Whether the listener with this local address accepts HTTP/2 without TLS.
    pub(crate) fn speaks_http2(&self, local: SocketAddr) -> bool {
        let mut listeners = self.listeners.iter();
        let own = listeners
            .find(|listener| listener.accepts(local))
            .and_then(Listen::http2);
        own.unwrap_or(self.snapshot.load().config.model.server.http2)
    }

    /// Whether the listener with this local address offers HTTP/2 in TLS handshakes.
    pub(crate) fn offers_http2(&self, local: Option<SocketAddr>) -> bool {
        let own = local.and_then(|local| self.listeners.iter().find(|own| own.accepts(local)));
        own.and_then(Listen::http2).unwrap_or(true)
    }

    /// What connections of the listener with this local address begin with. The address is not asked for
    /// if all are alike.
    pub(crate) fn accepted_with(&self, local: impl FnOnce() -> Option<SocketAddr>) -> AcceptedWith {
        Listen::accepted_with(&self.listeners, local)
    }

    /// Whether the listener with this local address answers plain requests with redirects.
    pub(crate) fn redirects_to_https(&self, local: impl FnOnce() -> Option<SocketAddr>) -> bool {
        Listen::any_redirects_to_https(&self.listeners, local)
    }

    /// Lets handshakes use the certificates of the snapshot in force.
    pub(crate) fn publish_certificates(&self) {
        self.certificates
            .set_files(|| self.snapshot.load().certificate_table());
    }

    /// Settings that differ from those the process was started with, and take effect after a restart.
    pub(crate) fn waiting_for_restart(&self) -> Vec<String> {
        restart_required(&self.started, &self.snapshot().config.settings)
    }

    /// Puts a new configuration in force for requests that start from now on. The settings that it
    /// changes.
    ///
    /// # Errors
    /// Every violation in the texts; the snapshot in force does not change then.
    pub(crate) fn reload(&self, texts: &ConfigTexts) -> Result<Vec<String>, ConfigError> {
        let mut known = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = self.put_in_force(texts);
        #[cfg(feature = "kubernetes")]
        self.cluster.reloaded(changed.is_ok());
        let changed = changed?;
        *known = texts.clone();
        Ok(changed)
    }

    /// The same with the texts in force and the objects of the cluster as they are now.
    ///
    /// # Errors
    /// As [`reload`](Self::reload).
    #[cfg(feature = "kubernetes")]
    pub(crate) fn apply_objects(&self) -> Result<(), ConfigError> {
        let known = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        self.put_in_force(&known).map(drop)
    }

    fn parse(&self, texts: &ConfigTexts) -> Result<Config, ConfigError> {
        #[cfg(feature = "kubernetes")]
        {
            let now = self.clock.now();
            let now = now.to_rfc3339_opts(SecondsFormat::Secs, true);
            let mut overlaid = |model: &Model, refused: &RefusedEntries| {
                self.cluster.overlay(model, refused, &now)
            };
            self.sources.parse_with(texts, Some(&mut overlaid))
        }
        #[cfg(not(feature = "kubernetes"))]
        self.sources.parse(texts)
    }

    fn put_in_force(&self, texts: &ConfigTexts) -> Result<Vec<String>, ConfigError> {
        let before = self.snapshot();
        let config = self.parse(texts)?;
        let shared = SnapshotContext {
            clock: &self.clock,
            counter: &self.counter,
            revocations: &self.revocations,
            metrics: &self.metrics,
            certificates: &self.certificates,
        };
        let next = Snapshot::build(config, Some(&before), shared)?;
        let log = &next.config.model.telemetry.log;
        if *log != before.config.model.telemetry.log {
            self.log_level.set(log)?;
        }
        let changed = before.config.settings.changed_keys(&next.config.settings);
        // Upstreams that are new would have no replicas until the next change of their endpoints.
        #[cfg(feature = "kubernetes")]
        self.cluster.publish(&next.upstreams);
        let next = Arc::new(next);
        self.snapshot.store(Arc::clone(&next));
        self.publish_certificates();
        before.forget_removed(&next, &self.metrics);
        before.retire_limit_store(&next);
        before.retire_acme(&next);
        let (old, new) = (&before.config.hash, &next.config.hash);
        self.metrics.set_config_hash(Some(old), new);
        self.reloaded.notify_one();
        let waiting = self.waiting_for_restart();
        if !waiting.is_empty() {
            tracing::warn!(target: "quartet", settings = waiting.join(", "),
                "changed settings take effect after a restart");
        }
        Ok(changed)
    }
}

/// A gateway that knows no object yet would answer 404 to what its replicas serve.
#[cfg(feature = "kubernetes")]
fn watch_cluster(
    readiness: Readiness,
    snapshot: &Arc<ArcSwap<Snapshot>>,
    cluster: &Arc<Cluster>,
) -> Readiness {
    let (current, checked, noticed) = (snapshot.clone(), cluster.clone(), cluster.clone());
    readiness
        .check("kubernetes", move || {
            let result = checked.check_ready(&current.load().config.model.kubernetes);
            async move { result }
        })
        .notice("kubernetes", move || noticed.notices())
}

/// What the configuration in force, and the threads, say about it.
fn readiness(snapshot: &Arc<ArcSwap<Snapshot>>, pulse: &Arc<Pulse>) -> Readiness {
    let of_snapshot = || Arc::clone(snapshot);
    let (current, verifying, counting) = (of_snapshot(), of_snapshot(), of_snapshot());
    let (documenting, noticing, certified) = (of_snapshot(), of_snapshot(), of_snapshot());
    let (heard, began) = (Arc::clone(pulse), Instant::now());
    Readiness::new()
        .check("public_threads", move || {
            let result = heard.check();
            async move { result }
        })
        .check("upstreams", move || {
            let result = current.load().check_ready();
            async move { result }
        })
        .check("documents", move || {
            let is_new = began.elapsed() < DOCUMENTS_WAIT;
            let missing = if is_new {
                documenting.load().document_notices()
            } else {
                Vec::new()
            };
            async move { missing.into_iter().next().map_or(Ok(()), Err) }
        })
        .notice("documents", move || noticing.load().document_notices())
        .notice("acme", move || certified.load().acme_notices())
        .notice("keys", move || verifying.load().key_notices())
        .notice("rate_limit_store", move || {
            counting.load().limit_store_notices()
        })
}
