//! Everything that is built from one version of the configuration, and replaced as a whole.
//!
//! A request keeps the snapshot it started with, so it never sees half of a reload: routes, the
//! verifier of their tokens, limits and upstreams are of one version. What is expensive to learn
//! again is carried over while its settings are equal: the keys of the verifier, and upstreams with
//! their addresses and health. Of a changed upstream, addresses and health are carried over.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::HeaderValue;
use quartet_auth::jwt::JwtVerifier;
use quartet_common::{clock::Clock, config::ConfigError, problem::Problem};
use serde_json::{Value, json};

use crate::{
    admin_access::AdminAccess,
    cache::{Cache, CacheSettings},
    config::{Config, IssuerConfig, UpstreamConfig, model::OnFeedError},
    document::{CompileSettings, DocumentSlot, DocumentSource},
    error,
    metrics::{GatewayMetrics, PatternSeries, gauge_value},
    policy::{
        AccessParts, Chain, ChainParts, ClaimNames, SessionCheck, ValidationParts,
        rate_limit::{LocalCounter, NamedLimit, SharedCounter},
    },
    revocations::Revocations,
    routing::{Auth, MatchedRoute, PathPattern, Route, RouteAction, SentHead, Unroutable},
    upstream::{AddressLookup, HealthState, Mirror, REFUSALS, Upstream},
};

/// The configuration in force, with what is built from it.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) config: Config,
    pub(crate) admin: AdminAccess,
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
    /// By the index of the upstream; `None`: no route validates against its document.
    documents: Vec<Option<Arc<DocumentSlot>>>,
    /// `None`: each process counts for itself.
    pub(crate) shared_counter: Option<Arc<SharedCounter>>,
}

/// What outlives every snapshot, and is needed to build one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SnapshotContext<'s> {
    pub(crate) clock: &'s Clock,
    pub(crate) counter: &'s Arc<LocalCounter>,
    pub(crate) revocations: &'s Arc<Revocations>,
    pub(crate) metrics: &'s GatewayMetrics,
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
        let verifiers = verifiers(&config, previous, shared.clock)?;
        let upstreams = config.upstreams.iter();
        let upstreams: Vec<_> = upstreams
            .map(|upstream| carry_over(upstream, previous))
            .collect();
        let lookups = lookups(&config, &upstreams, previous, shared.metrics);
        let limits = config.limits.iter();
        let limits: Vec<_> = limits
            .map(|limit| NamedLimit::new(limit, shared.counter, shared.metrics))
            .collect();
        let shared_counter = shared_counter(&config, previous, shared)?;
        let sessions = session_check(&config, shared.revocations);
        let access = AccessParts {
            issuers: &config.issuers,
            verifiers: &verifiers,
            sessions: sessions.as_ref(),
        };
        let claim_names = ClaimNames::of(&config);
        let caches: Vec<_> = config
            .caches
            .iter()
            .map(|settings| carry_over_cache(settings, previous))
            .collect();
        let documents = documents(&config, previous)?;
        let validation = ValidationParts {
            settings: &config.model.validation,
            slots: &documents,
            counts: &shared.metrics.validation,
        };
        let parts = ChainParts {
            access,
            claim_names: claim_names.as_ref(),
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
            .map(|route| Chain::new(route, mirror(route, &upstreams, shared.metrics), parts))
            .collect();
        let patterns = config.routes.patterns();
        let series = patterns
            .map(|pattern| PatternSeries::new(&shared.metrics.http, &pattern.text))
            .collect();
        let snapshot = Self {
            config,
            admin,
            upstreams,
            lookups,
            chains,
            caches,
            series,
            verifiers,
            documents,
            shared_counter,
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

    /// Where the response of a route comes from, as `explain` shows it.
    pub(crate) fn describe_destination(&self, route: &Route) -> Value {
        match route.action {
            RouteAction::Proxy(index) => describe_upstream(&self.upstreams[index]),
            RouteAction::Choose if route.lookup.is_some() => {
                let lookup = route.lookup.as_ref();
                let name = lookup.map(|(index, _)| &*self.config.lookups[*index].name);
                json!({ "lookup": name, "segment": lookup.map(|(_, segment)| segment) })
            }
            RouteAction::Choose => {
                let parts = route.split.iter().flat_map(|split| &split.parts);
                let parts = parts.map(|&(index, weight)| {
                    let upstream = describe_upstream(&self.upstreams[index]);
                    json!({ "weight": weight, "of": upstream })
                });
                json!({ "split": parts.collect::<Vec<_>>() })
            }
            RouteAction::Serve(page) => json!({ "serve": format!("{page:?}").to_lowercase() }),
            RouteAction::Redirect => {
                json!({ "redirect": route.redirect.as_ref().map(ToString::to_string) })
            }
            RouteAction::Respond => {
                json!({ "respond": route.respond.as_ref().map(|it| it.status.as_u16()) })
            }
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

    /// Fetches the keys that verify tokens for the first time, so that the first request finds them.
    pub(crate) fn fetch_keys(&self) {
        for (_, verifier) in self.needed_issuers() {
            verifier.prefetch_once();
        }
    }

    /// Those that some route accepts: without a route for its tokens, no one misses the keys of an issuer.
    fn needed_issuers(&self) -> impl Iterator<Item = (&IssuerConfig, &JwtVerifier)> {
        let routes = self.config.routes.routes();
        let accepts = |route: &Route, index: &usize| {
            route.auth != Auth::Public && route.access.issuers.contains(index)
        };
        let all = self.config.issuers.iter().zip(&self.verifiers).enumerate();
        all.filter(move |(index, _)| routes.iter().any(|route| accepts(route, index)))
            .map(|(_, issuer)| issuer)
    }

    /// What is wrong with the keys that verify tokens. Missing ones are fetched.
    pub(crate) fn key_notices(&self) -> Vec<String> {
        let notices = self.needed_issuers().flat_map(|(issuer, verifier)| {
            let notices = verifier.notices().into_iter();
            notices.map(|notice| {
                if issuer.is_default() {
                    notice
                } else {
                    format!("issuer {}: {notice}", issuer.name)
                }
            })
        });
        notices.collect()
    }

    /// The documents that routes validate against.
    pub(crate) fn document_slots(&self) -> impl Iterator<Item = &Arc<DocumentSlot>> {
        self.documents.iter().flatten()
    }

    /// Which documents are missing that routes validate against.
    pub(crate) fn document_notices(&self) -> Vec<String> {
        let missing = self.document_slots().filter(|slot| !slot.is_known());
        let notices = missing.map(|slot| {
            let name = &slot.source.upstream;
            format!("the OpenAPI document of {name} is not known; routes with validate = \"block\" answer 503")
        });
        notices.collect()
    }

    /// What is wrong with the feed of revoked sessions.
    pub(crate) fn feed_notices(&self, revocations: &Revocations) -> Vec<String> {
        let settings = &self.config.model.revocations;
        let limit = Duration::from_secs(settings.stale_seconds);
        if settings.url.is_none() || !revocations.is_older_than(limit) {
            return Vec::new();
        }
        let since = match revocations.age() {
            None => "has not been read yet".to_owned(),
            Some(age) => format!("was last read {} s ago", age.as_secs()),
        };
        let effect = match settings.on_feed_error {
            OnFeedError::Allow => "tokens of sessions that ended since then are accepted",
            OnFeedError::Deny => "tokens are refused",
        };
        vec![format!("the feed of revoked sessions {since}; {effect}")]
    }

    /// Waits until the store of the rate limits, if there is one, was asked for the first time.
    pub(crate) async fn limit_store_tried(&self) {
        if let Some(counter) = &self.shared_counter {
            counter.store.tried().await;
        }
    }

    /// What is wrong with the store of the rate limits.
    pub(crate) fn limit_store_notices(&self) -> Vec<String> {
        let counter = self.shared_counter.as_ref();
        counter.map_or(Vec::new(), |counter| counter.store.describe().notices())
    }

    pub(crate) fn header_timeout(&self) -> Duration {
        Duration::from_secs(self.config.model.server.header_timeout_seconds)
    }
}

/// Its name and the addresses of its replicas.
fn describe_upstream(upstream: &Upstream) -> Value {
    let replicas = upstream.replicas();
    let addresses: Vec<String> = replicas.iter().map(|it| it.address.to_string()).collect();
    // Those of names are known to a running gateway only.
    let replicas = (!addresses.is_empty()).then_some(addresses);
    json!({ "upstream": &*upstream.config.name, "replicas": replicas })
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

/// The upstream of this name before, if it did not change, and otherwise what is known of it.
fn carry_over(config: &UpstreamConfig, previous: Option<&Snapshot>) -> Arc<Upstream> {
    let mut upstreams = previous.iter().flat_map(|snapshot| &snapshot.upstreams);
    let known = upstreams.find(|upstream| upstream.config.name == config.name);
    match known {
        Some(known) if known.config == *config => Arc::clone(known),
        known => Arc::new(Upstream::new(config.clone(), known.map(|known| &**known))),
    }
}

/// The slots of the upstreams whose documents routes validate against; with the documents in force, while
/// they come from the same source.
///
/// # Errors
/// When a document of the configuration cannot be used.
fn documents(
    config: &Config,
    previous: Option<&Snapshot>,
) -> Result<Vec<Option<Arc<DocumentSlot>>>, ConfigError> {
    let mut wanted = vec![false; config.upstreams.len()];
    for route in config
        .routes
        .routes()
        .iter()
        .filter(|it| it.validate.is_on())
    {
        if let RouteAction::Proxy(index) = route.action {
            wanted[index] = true;
        }
        let parts = route.split.iter().flat_map(|split| &split.parts);
        parts.for_each(|(index, _)| wanted[*index] = true);
    }
    let slot = |(upstream, is_wanted): (&UpstreamConfig, bool)| {
        if !is_wanted {
            return Ok(None);
        }
        let source = DocumentSource {
            upstream: Arc::clone(&upstream.name),
            path: upstream.openapi.clone(),
            document: upstream.document.clone(),
            settings: CompileSettings {
                formats: config.model.validation.formats.clone(),
            },
        };
        let mut before = previous
            .iter()
            .flat_map(|snapshot| snapshot.document_slots());
        if let Some(known) = before.find(|slot| slot.source == source) {
            return Ok(Some(Arc::clone(known)));
        }
        let key = format!("upstreams.{}.document", upstream.name);
        let slot = DocumentSlot::new(source).map_err(|error| ConfigError::invalid(&key, error))?;
        Ok(Some(Arc::new(slot)))
    };
    config.upstreams.iter().zip(wanted).map(slot).collect()
}

/// With the responses of the cache of this name before.
fn carry_over_cache(settings: &CacheSettings, previous: Option<&Snapshot>) -> Arc<Cache> {
    let mut caches = previous.iter().flat_map(|snapshot| &snapshot.caches);
    let known = caches.find(|cache| cache.settings.name == settings.name);
    Arc::new(Cache::new(settings.clone(), known.map(|known| &**known)))
}

/// Where copies of a route's requests are sent.
fn mirror(
    route: &Route,
    upstreams: &[Arc<Upstream>],
    metrics: &GatewayMetrics,
) -> Option<Arc<Mirror>> {
    let rule = route.mirror.as_ref()?;
    let upstream = Arc::clone(upstreams.get(rule.upstream)?);
    let count = metrics.mirrored(&upstream.config.name);
    let (bytes, in_flight) = (rule.max_body_bytes, rule.max_in_flight);
    let mirror = Mirror::new(upstream, bytes, rule.timeout, in_flight, count);
    Some(Arc::new(mirror))
}

/// Those before, with what they have found, while nothing about them changes.
fn lookups(
    config: &Config,
    upstreams: &[Arc<Upstream>],
    previous: Option<&Snapshot>,
    metrics: &GatewayMetrics,
) -> Vec<Arc<AddressLookup>> {
    let discovery = &config.model.discovery;
    let lookups = config.lookups.iter().map(|lookup| {
        let mut before = previous.iter().flat_map(|snapshot| &snapshot.lookups);
        let known = before.find(|known| known.serves(lookup, upstreams, discovery));
        known.cloned().unwrap_or_else(|| {
            let count = metrics.lookups(&lookup.name);
            Arc::new(AddressLookup::new(
                lookup.clone(),
                upstreams,
                discovery,
                count,
            ))
        })
    });
    lookups.collect()
}

/// With equal settings the one before, with its connection and what it knows.
///
/// # Errors
/// When no client can be built from the settings.
fn shared_counter(
    config: &Config,
    previous: Option<&Snapshot>,
    shared: SnapshotContext<'_>,
) -> Result<Option<Arc<SharedCounter>>, ConfigError> {
    const TABLE: &str = "rate_limit_store";
    let Some(store) = &config.limit_store else {
        return Ok(None);
    };
    let is_unchanged = |previous: &&Snapshot| {
        let changed = previous.config.settings.changed_keys(&config.settings);
        !changed.iter().any(|key| key.starts_with(TABLE))
    };
    let known = previous.filter(is_unchanged);
    if let Some(known) = known.and_then(|previous| previous.shared_counter.clone()) {
        return Ok(Some(known));
    }
    let counter = SharedCounter::new(store, shared.clock.clone(), shared.metrics);
    let counter = counter.map_err(|error| ConfigError::invalid(TABLE, error.to_string()))?;
    Ok(Some(Arc::new(counter)))
}

/// The verifiers of the issuers, in their order. With equal settings the one before, so that its keys
/// and verified tokens stay; with other settings but the same source of the keys, those stay.
///
/// # Errors
/// When nothing can be fetched over TLS here.
fn verifiers(
    config: &Config,
    previous: Option<&Snapshot>,
    clock: &Clock,
) -> Result<Vec<JwtVerifier>, ConfigError> {
    let build = |issuer: &IssuerConfig| {
        let known = previous.and_then(|previous| previous.verifier(&issuer.name));
        if let Some(known) = known.filter(|known| *known.settings() == issuer.settings) {
            return Ok(known.clone());
        }
        let verifier = JwtVerifier::of_issuer(issuer.settings.clone(), clock.clone())
            .map_err(|error| ConfigError::invalid("jwt.jwks_url", error.to_string()))?;
        if let Some(known) = known {
            // Otherwise, a reload while the issuer is away would close every route that verifies tokens.
            verifier.keep_keys_of(known);
        }
        Ok(verifier)
    };
    config.issuers.iter().map(build).collect()
}

/// `None`: there is no feed of revoked sessions.
fn session_check(config: &Config, revocations: &Arc<Revocations>) -> Option<SessionCheck> {
    let settings = &config.model.revocations;
    settings.url.as_ref()?;
    let is_denied = settings.on_feed_error == OnFeedError::Deny;
    Some(SessionCheck {
        revocations: Arc::clone(revocations),
        denied_after: is_denied.then(|| Duration::from_secs(settings.stale_seconds)),
    })
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
