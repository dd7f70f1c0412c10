//! Everything that is built from one version of the configuration, and replaced as a whole.
//!
//! A request keeps the snapshot it started with, so it never sees half of a reload: routes, the
//! verifier of their tokens, limits and upstreams are of one version. What is expensive to learn
//! again is carried over while its settings are equal: the keys of the verifier, and upstreams with
//! their addresses and health. Of a changed upstream, addresses and health are carried over.

use std::{sync::Arc, time::Duration};

use quartet_auth::jwt::JwtVerifier;
use quartet_common::{clock::Clock, config::ConfigError};

use crate::{
    config::{Balance, Config, UpstreamConfig, model::Model},
    metrics::{GatewayMetrics, PatternSeries, gauge_value},
    policy::{
        Chain,
        rate_limit::{LocalCounter, NamedLimit},
    },
    routing::{Auth, PathPattern, Route, RouteAction},
    upstream::Upstream,
};

/// The configuration in force, with what is built from it.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) config: Config,
    /// In the order of the configuration.
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    /// By the index of the route.
    chains: Vec<Chain>,
    /// By the rank of the pattern.
    series: Vec<PatternSeries>,
    verifier: Option<JwtVerifier>,
}

/// What outlives every snapshot, and is needed to build one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SnapshotContext<'s> {
    pub(crate) clock: &'s Clock,
    pub(crate) counter: &'s Arc<LocalCounter>,
    pub(crate) metrics: &'s GatewayMetrics,
}

impl Snapshot {
    /// Builds everything that a configuration determines. The start, `check` and every reload do
    /// this and nothing else, so what one of them accepts, the others accept too.
    ///
    /// # Errors
    /// When a part cannot be built, such as the verifier of a route that requires a token. Nothing
    /// is in force then.
    pub(crate) fn build(
        config: Config,
        previous: Option<&Self>,
        shared: SnapshotContext<'_>,
    ) -> Result<Self, ConfigError> {
        let verifier = verifier(&config.model, previous, shared.clock)?;
        let upstreams = config.upstreams.iter();
        let upstreams = upstreams
            .map(|upstream| carry_over(upstream, previous))
            .collect();
        let limits = config.limits.iter();
        let limits: Vec<_> = limits
            .map(|limit| NamedLimit::new(limit, shared.counter, shared.metrics))
            .collect();
        let routes = config.routes.routes().iter();
        let chains = routes
            .map(|route| Chain::new(route, verifier.as_ref(), &limits))
            .collect();
        let patterns = config.routes.patterns();
        let series = patterns
            .map(|pattern| PatternSeries::new(&shared.metrics.http, &pattern.text))
            .collect();
        let snapshot = Self {
            config,
            upstreams,
            chains,
            series,
            verifier,
        };
        snapshot.export(shared.metrics);
        Ok(snapshot)
    }

    /// The policies of a route of this snapshot.
    pub(crate) fn chain(&self, route: &Route) -> &Chain {
        &self.chains[route.index]
    }

    /// Whether the replica of a request depends on its client.
    pub(crate) fn balances_by_key(&self, route: &Route) -> bool {
        match route.action {
            RouteAction::Proxy(index) => {
                self.upstreams[index].config.balance == Balance::ClientHash
            }
            _ => false,
        }
    }

    /// The metrics of requests that a pattern of this snapshot matched.
    pub(crate) fn series(&self, pattern: &PathPattern) -> &PatternSeries {
        &self.series[pattern.rank]
    }

    /// Creates the counters of each upstream, and sets its number of replicas.
    pub(crate) fn export(&self, metrics: &GatewayMetrics) {
        for upstream in &self.upstreams {
            let name = &upstream.config.name;
            metrics.connect_failures(name);
            metrics.broken_responses(name);
            metrics.retries(name);
            let replicas = gauge_value(upstream.replicas().len());
            metrics.replicas(name).set(replicas);
        }
    }

    /// Removes the numbers of replicas that `next` has no upstream for: nothing would change them any
    /// more.
    pub(crate) fn forget_removed(&self, next: &Self, metrics: &GatewayMetrics) {
        for upstream in &self.upstreams {
            let name = &upstream.config.name;
            if next.upstreams.iter().all(|it| it.config.name != *name) {
                metrics.forget_replicas(name);
            }
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

    /// Fetches the keys that verify tokens for the first time, so that the first request finds them.
    pub(crate) fn fetch_keys(&self) {
        if let Some(verifier) = &self.verifier {
            verifier.prefetch_once();
        }
    }

    /// What is wrong with the keys that verify tokens. Missing ones are fetched.
    pub(crate) fn key_notices(&self) -> Vec<String> {
        self.verifier
            .as_ref()
            .map_or(Vec::new(), JwtVerifier::notices)
    }

    pub(crate) fn header_timeout(&self) -> Duration {
        Duration::from_secs(self.config.model.server.header_timeout_seconds)
    }
}

/// The upstream of this name before, if it did not change, and otherwise what is known of it.
fn carry_over(config: &UpstreamConfig, previous: Option<&Snapshot>) -> Arc<Upstream> {
    let mut upstreams = previous.iter().flat_map(|snapshot| &snapshot.upstreams);
    let known = upstreams.find(|upstream| upstream.config.name == config.name);
    match known {
        Some(known) if known.config == *config => Arc::clone(known),
        known => Arc::new(Upstream::new(config.clone(), known.map(|known| &**known))),
    }
}

/// With equal settings the one before, so that its keys and verified tokens stay; with other settings
/// but the same address of the keys, those stay. `None` if no route verifies tokens and `[jwt]` has no
/// keys.
///
/// # Errors
/// When a route verifies tokens, and `[jwt]` is incomplete.
fn verifier(
    model: &Model,
    previous: Option<&Snapshot>,
    clock: &Clock,
) -> Result<Option<JwtVerifier>, ConfigError> {
    let has_keys = model.jwt.jwks_url.is_some() || model.jwt.hs256_secret.is_some();
    let mut routes = model.routes.values();
    let is_needed = routes.any(|route| route.enabled && route.auth != Auth::Public);
    if !has_keys && !is_needed {
        return Ok(None);
    }
    let unchanged = previous.filter(|previous| previous.config.model.jwt == model.jwt);
    if let Some(verifier) = unchanged.and_then(|previous| previous.verifier.clone()) {
        return Ok(Some(verifier));
    }
    let verifier = JwtVerifier::new(&model.jwt, clock.clone())?;
    if let Some(before) = previous.and_then(|previous| previous.verifier.as_ref()) {
        // Otherwise, a reload while the issuer is away would close every route that verifies tokens.
        verifier.keep_keys_of(before);
    }
    Ok(Some(verifier))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quartet_telemetry::metrics::Metrics;

    use super::*;
    use crate::{config::load::Sources, fuzz};

    /// Any text is refused with a reason, or is a configuration that can be put in force, and in
    /// which no route that verifies tokens is open.
    fn is_refused_or_complete(input: &[u8]) -> Result<(), TestCaseError> {
        let text = String::from_utf8_lossy(input);
        let config = match Sources::of_test(&text) {
            Ok(config) => config,
            Err(errors) => {
                prop_assert!(!errors.to_string().is_empty());
                return Ok(());
            }
        };
        let metrics = GatewayMetrics::new(Metrics::new("gateway"));
        let shared = SnapshotContext {
            clock: &Clock::system(),
            counter: &Arc::new(LocalCounter::new(100)),
            metrics: &metrics,
        };
        let Ok(snapshot) = Snapshot::build(config, None, shared) else {
            return Ok(());
        };
        let mut routes = snapshot.config.routes.routes().iter();
        let verifies = routes.any(|route| route.auth != Auth::Public);
        prop_assert!(!verifies || snapshot.verifier.is_some());
        Ok(())
    }

    #[test]
    fn fuzz_configurations() {
        let dictionary = [
            "\n",
            "=",
            "[",
            "]",
            "{",
            "}",
            "\"",
            "\"\"\"",
            ",",
            ".",
            "#",
            "0",
            "-1",
            "99999999999",
            "true",
            "false",
            "1.5",
            "\"*\"",
            "\"/*\"",
            "/{a}",
            "{a}",
            "[routes.b]\n",
            "[upstreams.v]\n",
            "[limits.m]\n",
            "paths = [\"/x\"]\n",
            "upstream = \"u\"\n",
            "auth = \"public\"\n",
            "enabled = false\n",
            "serve = \"health\"\n",
            "redirect = \"/{x}\"\n",
            "raw_path = true\n",
            "upgrade = true\n",
            "priority = -5\n",
            "host = \"a:1\"\n",
            "openapi = \"/o\"\n",
            "weight = 0",
            "\\u0000",
            "\u{e9}",
        ];
        fuzz::run("configurations", &dictionary, is_refused_or_complete);
    }
}
