//! What operators should know of what a snapshot depends on.

use std::{sync::Arc, time::Duration};

use quartet_auth::jwt::JwtVerifier;

use super::Snapshot;
use crate::{
    config::{IssuerConfig, model::OnFeedError},
    document::DocumentSlot,
    revocations::Revocations,
    routing::{Auth, Route},
};

impl Snapshot {
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

    /// Waits until the stored certificates, if there are any, were looked for.
    pub(crate) async fn certificates_tried(&self) {
        if let Some(acme) = &self.acme {
            acme.tried().await;
        }
    }

    /// What is wrong with the certificates that are ordered.
    pub(crate) fn acme_notices(&self) -> Vec<String> {
        self.acme.as_ref().map_or(Vec::new(), |acme| acme.notices())
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
}
