//! The parts of a snapshot, each with what is known from the one before.

use std::{sync::Arc, time::Duration};

use quartet_auth::jwt::JwtVerifier;
use quartet_common::{clock::Clock, config::ConfigError};

use super::{Snapshot, SnapshotContext};
use crate::{
    api_keys::ApiKeys,
    cache::{Cache, CacheSettings},
    config::{Config, IssuerConfig, UpstreamConfig, model::OnFeedError},
    document::{CompileSettings, DocumentSlot, DocumentSource},
    metrics::GatewayMetrics,
    policy::{
        SessionCheck,
        rate_limit::{NamedLimit, SharedCounter},
    },
    revocations::Revocations,
    routing::{Route, RouteAction},
    tls::acme::Acme,
    upstream::{AddressLookup, Mirror, Upstream},
};

impl Snapshot {
    /// The upstream of this name before, if it did not change, and otherwise what is known of it.
    pub(super) fn carry_over(config: &UpstreamConfig, previous: Option<&Self>) -> Arc<Upstream> {
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
    pub(super) fn documents(
        config: &Config,
        previous: Option<&Self>,
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
            let slot =
                DocumentSlot::new(source).map_err(|error| ConfigError::invalid(&key, error))?;
            Ok(Some(Arc::new(slot)))
        };
        config.upstreams.iter().zip(wanted).map(slot).collect()
    }

    pub(super) fn caches(config: &Config, previous: Option<&Self>) -> Vec<Arc<Cache>> {
        let settings = config.caches.iter();
        settings
            .map(|settings| Self::carry_over_cache(settings, previous))
            .collect()
    }

    /// With the responses of the cache of this name before.
    fn carry_over_cache(settings: &CacheSettings, previous: Option<&Self>) -> Arc<Cache> {
        let mut caches = previous.iter().flat_map(|snapshot| &snapshot.caches);
        let known = caches.find(|cache| cache.settings.name == settings.name);
        Arc::new(Cache::new(settings.clone(), known.map(|known| &**known)))
    }

    /// Where copies of a route's requests are sent.
    pub(super) fn mirror(
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
    pub(super) fn lookups(
        config: &Config,
        upstreams: &[Arc<Upstream>],
        previous: Option<&Self>,
        metrics: &GatewayMetrics,
    ) -> Vec<Arc<AddressLookup>> {
        let discovery = &config.model.discovery;
        let lookups = config.lookups.iter().map(|lookup| {
            let mut before = previous.iter().flat_map(|snapshot| &snapshot.lookups);
            let before = before.find(|before| before.config.name == lookup.name);
            let known = before.filter(|known| known.serves(lookup, upstreams, discovery));
            known.cloned().unwrap_or_else(|| {
                let before = before.map(|before| &**before);
                let count = metrics.lookups(&lookup.name);
                Arc::new(AddressLookup::new(
                    lookup.clone(),
                    upstreams,
                    discovery,
                    before,
                    count,
                ))
            })
        });
        lookups.collect()
    }

    /// In the order of the configuration.
    pub(super) fn limits(config: &Config, shared: SnapshotContext<'_>) -> Vec<Arc<NamedLimit>> {
        let limits = config.limits.iter();
        limits
            .map(|limit| NamedLimit::new(limit, shared.counter, shared.metrics))
            .collect()
    }

    /// With equal settings the one before; with others of the same server, its connection stays.
    ///
    /// # Errors
    /// When no client can be built from the settings.
    pub(super) fn shared_counter(
        config: &Config,
        previous: Option<&Self>,
        shared: SnapshotContext<'_>,
    ) -> Result<Option<Arc<SharedCounter>>, ConfigError> {
        const TABLE: &str = "rate_limit_store";
        let Some(store) = &config.limit_store else {
            return Ok(None);
        };
        let is_unchanged = |previous: &&Self| {
            let changed = previous.config.settings.changed_keys(&config.settings);
            !changed.iter().any(|key| key.starts_with(TABLE))
        };
        let before = previous.and_then(|previous| previous.shared_counter.as_ref());
        if let Some(known) = before.filter(|_| previous.is_some_and(|it| is_unchanged(&it))) {
            return Ok(Some(Arc::clone(known)));
        }
        let clock = shared.clock.clone();
        let before = before.map(|before| &**before);
        let counter = SharedCounter::new(store, clock, shared.metrics, before);
        let counter = counter.map_err(|error| ConfigError::invalid(TABLE, error.to_string()))?;
        Ok(Some(Arc::new(counter)))
    }

    /// With equal settings the one before; otherwise with the certificates that it has in use.
    ///
    /// # Errors
    /// When no client can be built from the settings.
    pub(super) fn acme(
        config: &Config,
        previous: Option<&Self>,
        shared: SnapshotContext<'_>,
    ) -> Result<Option<Arc<Acme>>, ConfigError> {
        const TABLE: &str = "acme";
        let Some(settings) = &config.acme else {
            return Ok(None);
        };
        let is_own = |key: &String| {
            key.strip_prefix(TABLE)
                .is_some_and(|it| it.starts_with('.'))
        };
        let before = previous.and_then(|previous| previous.acme.as_ref());
        if let Some((previous, known)) = previous.zip(before) {
            let changed = previous.config.settings.changed_keys(&config.settings);
            if !changed.iter().any(is_own) {
                return Ok(Some(Arc::clone(known)));
            }
        }
        let before = before.map(|before| &**before);
        let acme = Acme::new(settings, shared.clock, &shared.metrics.acme, before);
        let acme = acme.map_err(|error| ConfigError::invalid(TABLE, error.to_string()))?;
        Ok(Some(Arc::new(acme)))
    }

    /// The verifiers of the issuers, in their order. With equal settings the one before, so that its keys
    /// and verified tokens stay; with other settings but the same source of the keys, those stay.
    ///
    /// # Errors
    /// When nothing can be fetched over TLS here.
    pub(super) fn verifiers(
        config: &Config,
        previous: Option<&Self>,
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

    /// With equal settings the ones before, with their tokens.
    ///
    /// # Errors
    /// When nothing can be fetched over TLS here.
    pub(super) fn api_keys(
        config: &Config,
        previous: Option<&Self>,
        shared: SnapshotContext<'_>,
    ) -> Result<Option<Arc<ApiKeys>>, ConfigError> {
        let (settings, feed) = (&config.model.api_keys, &config.model.revocations);
        let known = previous.and_then(|previous| previous.api_keys.as_ref());
        if let Some(known) = known.filter(|known| known.is_of(settings, feed)) {
            return Ok(Some(Arc::clone(known)));
        }
        let count = shared.metrics.api_key_exchanges();
        let keys = ApiKeys::new(settings, feed, shared.clock, count);
        let keys = keys.map_err(|error| ConfigError::invalid("api_keys.url", error.to_string()))?;
        Ok(keys.map(Arc::new))
    }

    /// `None`: there is no feed of revoked sessions.
    pub(super) fn session_check(
        config: &Config,
        revocations: &Arc<Revocations>,
    ) -> Option<SessionCheck> {
        let settings = &config.model.revocations;
        settings.url.as_ref()?;
        let is_denied = settings.on_feed_error == OnFeedError::Deny;
        Some(SessionCheck {
            revocations: Arc::clone(revocations),
            denied_after: is_denied.then(|| Duration::from_secs(settings.stale_seconds)),
        })
    }
}
