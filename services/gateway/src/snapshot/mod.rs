//! Everything that is built from one version of the configuration, and replaced as a whole.
//!
//! A request keeps the snapshot it started with, so it never sees half of a reload: routes, the
//! verifier of their tokens, limits and upstreams are of one version. What is expensive to learn
//! again is carried over while its settings are equal: the keys of the verifier, and upstreams with
//! their addresses and health. Of a changed upstream, addresses and health are carried over.

mod describe;
mod notices;
mod parts;
mod tls;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::HeaderValue;
use quartet_auth::jwt::JwtVerifier;
use quartet_common::{clock::Clock, config::ConfigError, problem::Problem};

use crate::{
    admin_access::AdminAccess,
    api_keys::ApiKeys,
    cache::Cache,
    config::Config,
    document::DocumentSlot,
    error,
    metrics::{GatewayMetrics, PatternSeries, gauge_value},
    policy::{
        AccessParts, Chain, ChainParts, ClaimNames, ValidationParts,
        rate_limit::{LocalCounter, SharedCounter},
    },
    revocations::Revocations,
    routing::{MatchedRoute, PathPattern, Route, RouteAction, SentHead, Unroutable},
    tls::{Acceptance, AllCertificateFiles, Certificates, acme::Acme},
    upstream::{AddressLookup, HealthState, REFUSALS, Upstream},
};

/// The configuration in force, with what is built from it.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) config: Config,
    pub(crate) admin: AdminAccess,
    pub(crate) certificates: AllCertificateFiles,
    pub(crate) acceptance: Acceptance,
    /// In the order of the configuration.
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    /// In the order of the configuration.
    pub(crate) lookups: Vec<Arc<AddressLookup>>,
    /// By the index of the route.
    chains: Vec<Chain>,
    /// In the order of the configuration.
    pub(crate) caches: Vec<Arc<Cache>>,
    /// By the rank of the pattern.
    series: Vec<PatternSeries>,
    /// Of the issuers of the configuration, in their order.
    verifiers: Vec<JwtVerifier>,
    /// `None`: they are not accepted.
    api_keys: Option<Arc<ApiKeys>>,
    /// By the index of the upstream; `None`: no route validates against its document.
    documents: Vec<Option<Arc<DocumentSlot>>>,
    /// `None`: each process counts for itself.
    pub(crate) shared_counter: Option<Arc<SharedCounter>>,
    /// `None`: no certificate is ordered.
    pub(crate) acme: Option<Arc<Acme>>,
}

/// What outlives every snapshot, and is needed to build one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SnapshotContext<'s> {
    pub(crate) clock: &'s Clock,
    pub(crate) counter: &'s Arc<LocalCounter>,
    pub(crate) revocations: &'s Arc<Revocations>,
    pub(crate) metrics: &'s GatewayMetrics,
    pub(crate) certificates: &'s Arc<Certificates>,
}

impl Snapshot {
    /// Builds everything that a configuration determines. The start, `check` and every reload do
    /// this and nothing else, so what one of them accepts, the others accept too.
    ///
    /// # Errors
    /// When a part cannot be built, such as the verifier of an issuer. Nothing is in force then.
    pub(crate) fn build(
        config: Config,
        previous: Option<&Self>,
        shared: SnapshotContext<'_>,
    ) -> Result<Self, ConfigError> {
        let admin = AdminAccess::build(&config.admin, previous.map(|known| &known.admin))?;
        let (certificates, acceptance) = Self::tls(&config, previous, shared)?;
        let verifiers = Self::verifiers(&config, previous, shared.clock)?;
        let upstreams = config.upstreams.iter();
        let upstreams: Vec<_> = upstreams
            .map(|upstream| Self::carry_over(upstream, previous))
            .collect();
        let lookups = Self::lookups(&config, &upstreams, previous, shared.metrics);
        let limits = Self::limits(&config, shared);
        let shared_counter = Self::shared_counter(&config, previous, shared)?;
        let acme = Self::acme(&config, previous, shared)?;
        let sessions = Self::session_check(&config, shared.revocations);
        let api_keys = Self::api_keys(&config, previous, shared)?;
        let access = AccessParts {
            issuers: &config.issuers,
            verifiers: &verifiers,
            sessions: sessions.as_ref(),
            api_keys: api_keys.as_ref(),
        };
        let claim_names = ClaimNames::of(&config);
        let caches = Self::caches(&config, previous);
        let documents = Self::documents(&config, previous)?;
        let validation = ValidationParts {
            settings: &config.model.validation,
            slots: &documents,
            counts: &shared.metrics.validation,
        };
        let parts = ChainParts {
            access,
            claim_names: claim_names.as_ref(),
            authorities: &config.tls.authorities,
            limits: &limits,
            shared: shared_counter.as_ref(),
            upstreams: &upstreams,
            lookups: &lookups,
            caches: &caches,
            validation,
            clock: shared.clock,
            metrics: shared.metrics,
        };
        let routes = config.routes.routes().iter();
        let chains = routes
            .map(|route| {
                Chain::new(
                    route,
                    Self::mirror(route, &upstreams, shared.metrics),
                    parts,
                )
            })
            .collect();
        let series = series(&config, shared.metrics);
        let snapshot = Self {
            config,
            admin,
            certificates,
            acceptance,
            upstreams,
            lookups,
            chains,
            caches,
            series,
            verifiers,
            api_keys,
            documents,
            shared_counter,
            acme,
        };
        snapshot.export(shared.metrics);
        Ok(snapshot)
    }

    /// The route of a request, by the one spelling of its path and host.
    ///
    /// # Errors
    /// The problem that is the response.
    pub(crate) fn route(&self, head: SentHead<'_>) -> Result<MatchedRoute, Problem> {
        let found = self.config.routes.route(head);
        found.map_err(|unroutable| match unroutable {
            Unroutable::Refused(rule) => error::ambiguous_path(rule.code(), rule.rule()),
            Unroutable::InvalidHost => error::malformed(
                "Host must be one host with an optional port, and that of the request target",
            ),
            Unroutable::MethodNotAllowed(allowed) => error::method_not_allowed(&allowed),
            Unroutable::NotFound => error::no_route(),
        })
    }

    /// The policies of a route of this snapshot.
    pub(crate) fn chain(&self, route: &Route) -> &Chain {
        &self.chains[route.index]
    }

    /// The upstream of a route, if it has one whatever the request.
    pub(crate) fn upstream(&self, route: &Route) -> Option<&Arc<Upstream>> {
        match route.action {
            RouteAction::Proxy(index) => self.upstreams.get(index),
            _ => None,
        }
    }

    /// The `Host` that the upstream of a route gets whatever the client sends.
    pub(crate) fn fixed_host(&self, route: &Route) -> Option<HeaderValue> {
        self.upstream(route)?.config.host.clone()
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
            for reason in REFUSALS {
                metrics.refused(name, reason);
            }
            export_replicas(upstream, metrics);
        }
    }

    /// Removes the numbers of replicas that `next` has no upstream for: nothing would change them any
    /// more.
    pub(crate) fn forget_removed(&self, next: &Self, metrics: &GatewayMetrics) {
        for upstream in &self.upstreams {
            let name = &upstream.config.name;
            if next.upstreams.iter().all(|it| it.config.name != *name) {
                metrics.forget_replicas(name, HealthState::NAMES);
            }
        }
        let kind = |snapshot: &Self| {
            let counter = snapshot.shared_counter.as_ref();
            counter.map(|counter| counter.store.describe().kind)
        };
        if let Some(old) = kind(self).filter(|old| kind(next) != Some(old)) {
            metrics.forget_limit_store(old);
        }
        for cache in &self.caches {
            let name = &cache.settings.name;
            if next.caches.iter().all(|it| it.settings.name != *name) {
                metrics.forget_cache(name);
            }
        }
    }

    /// Lets the one who keeps the store of the rate limits know that `next` has another one.
    pub(crate) fn retire_limit_store(&self, next: &Self) {
        let other = next.shared_counter.as_ref();
        if let Some(counter) = &self.shared_counter
            && !other.is_some_and(|other| Arc::ptr_eq(counter, other))
        {
            counter.store.retire();
        }
    }

    /// Ends the work of the one before on its certificates, if `next` has another one.
    pub(crate) fn retire_acme(&self, next: &Self) {
        let other = next.acme.as_ref();
        if let Some(acme) = &self.acme
            && !other.is_some_and(|other| Arc::ptr_eq(acme, other))
        {
            acme.retire(other.map(|other| &**other));
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

    fn verifier(&self, issuer: &str) -> Option<&JwtVerifier> {
        let mut all = self.config.issuers.iter().zip(&self.verifiers);
        let found = all.find(|(config, _)| *config.name == *issuer);
        found.map(|(_, verifier)| verifier)
    }

    pub(crate) fn header_timeout(&self) -> Duration {
        Duration::from_secs(self.config.model.server.header_timeout_seconds)
    }
}

/// By the rank of the pattern.
fn series(config: &Config, metrics: &GatewayMetrics) -> Vec<PatternSeries> {
    let patterns = config.routes.patterns();
    patterns
        .map(|pattern| PatternSeries::new(&metrics.http, &pattern.text))
        .collect()
}

/// Sets what is known of the replicas now.
fn export_replicas(upstream: &Upstream, metrics: &GatewayMetrics) {
    let name = &upstream.config.name;
    let (replicas, now) = (upstream.replicas(), Instant::now());
    metrics.replicas(name).set(gauge_value(replicas.len()));
    for state in HealthState::NAMES {
        let states = replicas.iter().map(|replica| replica.health.state(now));
        let count = states.filter(|it| it.name() == state).count();
        metrics.replica_states(name, state).set(gauge_value(count));
    }
    let queued = upstream.gate.as_ref().map_or(0, |gate| gate.queued());
    metrics.queued(name).set(gauge_value(queued));
    let breaker = upstream.breaker.as_ref();
    let is_open = breaker.is_some_and(|breaker| breaker.state_name(now) != "closed");
    metrics.circuit_open(name).set(i64::from(is_open));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quartet_telemetry::metrics::Metrics;

    use super::*;
    use crate::{config::load::Sources, fuzz, routing::Auth};

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
            revocations: &Revocations::new(Clock::system()),
            metrics: &metrics,
            certificates: &Certificates::new(),
        };
        let Ok(snapshot) = Snapshot::build(config, None, shared) else {
            return Ok(());
        };
        for route in snapshot.config.routes.routes() {
            let mut issuers = route.access.issuers.iter();
            let is_verified = !route.access.issuers.is_empty()
                && issuers.all(|&issuer| issuer < snapshot.verifiers.len());
            prop_assert!(route.auth == Auth::Public || is_verified);
        }
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
            "rewrite = \"/{a}/*\"\n",
            "query = { a = true }\n",
            "split = [{ upstream = \"u\", weight = 1 }]\n",
            "sticky = \"client_hash\"\n",
            "mirror = { upstream = \"u\" }\n",
            "lookup = { name = \"l\", segment = \"a\" }\n",
            "[lookups.l]\nnetworks = [\"::/0\"]\nports = [1]\n",
            "table = { a = \"10.0.0.1:1\" }\n",
            "respond = { status = 200 }\n",
            "sunset_on = \"2026-01-01\"\n",
            "upgrade = true\n",
            "validate = \"block\"\n",
            "document = '{\"openapi\": \"3.1.0\", \"paths\": {}}'\n",
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
