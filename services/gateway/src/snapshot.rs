//! Everything that is built from one version of the configuration, and replaced as a whole.
//!
//! A request keeps the snapshot it started with, so it never sees half of a reload. What must
//! survive a reload is carried over by name: upstreams that did not change, and otherwise their
//! addresses and health, which would have to be learned again at the expense of requests.

use std::{sync::Arc, time::Duration};

use quartet_auth::jwt::JwtVerifier;
use quartet_common::{
    clock::Clock,
    config::{ConfigError, Telemetry},
};

use crate::{
    config::{Config, UpstreamConfig, model::Model},
    metrics::{GatewayMetrics, gauge_value},
    policy::{Chain, rate_limit::LocalCounter},
    routing::Auth,
    upstream::Upstream,
};

/// The configuration in force, with what is built from it.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) config: Config,
    /// In the order of the configuration.
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    pub(crate) policies: Chain,
    verifier: Option<JwtVerifier>,
}

impl Snapshot {
    /// # Errors
    /// When a route verifies tokens, and `[jwt]` is incomplete.
    pub(crate) fn first(
        config: Config,
        clock: &Clock,
        counter: &Arc<LocalCounter>,
        metrics: &GatewayMetrics,
    ) -> Result<Self, ConfigError> {
        let verifier = verifier(&config.model, clock)?;
        let upstreams = config.upstreams.iter();
        let upstreams = upstreams.map(|upstream| Arc::new(Upstream::new(upstream.clone(), None)));
        let upstreams = upstreams.collect();
        Ok(Self::build(config, upstreams, verifier, counter, metrics))
    }

    /// The snapshot after this one.
    pub(crate) fn next(
        &self,
        config: Config,
        counter: &Arc<LocalCounter>,
        metrics: &GatewayMetrics,
    ) -> Self {
        let upstreams = config.upstreams.iter();
        let upstreams = upstreams.map(|upstream| self.carry_over(upstream));
        let upstreams = upstreams.collect();
        Self::build(config, upstreams, self.verifier.clone(), counter, metrics)
    }

    fn build(
        config: Config,
        upstreams: Vec<Arc<Upstream>>,
        verifier: Option<JwtVerifier>,
        counter: &Arc<LocalCounter>,
        metrics: &GatewayMetrics,
    ) -> Self {
        let policies = Chain::new(
            verifier.clone(),
            Arc::clone(counter),
            &config.limits,
            metrics,
        );
        let snapshot = Self {
            config,
            upstreams,
            policies,
            verifier,
        };
        snapshot.export(metrics);
        snapshot
    }

    fn carry_over(&self, config: &UpstreamConfig) -> Arc<Upstream> {
        let previous = self
            .upstreams
            .iter()
            .find(|previous| previous.config.name == config.name);
        match previous {
            Some(previous) if previous.config == *config => Arc::clone(previous),
            previous => Arc::new(Upstream::new(
                config.clone(),
                previous.map(|previous| &**previous),
            )),
        }
    }

    /// Creates the counters of each upstream, and sets its number of replicas.
    pub(crate) fn export(&self, metrics: &GatewayMetrics) {
        for upstream in &self.upstreams {
            let name = &upstream.config.name;
            metrics.connect_failures(name);
            metrics.retries(name);
            let replicas = gauge_value(upstream.replicas().len());
            metrics.replicas(name).set(replicas);
        }
    }

    /// # Errors
    /// When no upstream has an address.
    ///
    /// One is enough: a missing service must not make the others unavailable. A gateway that can
    /// resolve no upstream at all should receive no requests.
    pub(crate) fn check_ready(&self) -> Result<(), String> {
        let mut upstreams = self.upstreams.iter();
        let any = upstreams.any(|upstream| !upstream.replicas().is_empty());
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

/// `None` if no route verifies tokens and `[jwt]` has no keys.
///
/// # Errors
/// When a route verifies tokens, and `[jwt]` is incomplete.
pub(crate) fn verifier(model: &Model, clock: &Clock) -> Result<Option<JwtVerifier>, ConfigError> {
    let has_keys = model.jwt.jwks_url.is_some() || model.jwt.hs256_secret.is_some();
    let is_needed = model
        .routes
        .values()
        .any(|route| route.enabled && route.auth != Auth::Public);
    if !has_keys && !is_needed {
        return Ok(None);
    }
    JwtVerifier::new(&model.jwt, clock.clone()).map(Some)
}

/// Settings that changed and take effect only after a restart.
pub(crate) fn restart_required(before: &Model, after: &Model) -> Vec<&'static str> {
    let (old, new) = (&before.server, &after.server);
    let jwt = |model: &Model| {
        let jwt = &model.jwt;
        (
            jwt.issuer.clone(),
            jwt.audience.clone(),
            jwt.token_type.clone(),
            jwt.jwks_url.clone(),
        )
    };
    let otlp = |telemetry: &Telemetry| (telemetry.otlp_endpoint.clone(), telemetry.otlp_protocol);
    let changes = [
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
        (
            "telemetry",
            otlp(&before.telemetry) != otlp(&after.telemetry),
        ),
    ];
    let changed = changes.into_iter().filter(|&(_, changed)| changed);
    changed.map(|(name, _)| name).collect()
}
