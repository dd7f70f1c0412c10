//! `[revocations]`.

use quartet_common::config::empty_as_none;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revocations {
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) url: Option<Url>,
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) secret: Option<SecretString>,
    pub(crate) interval_ms: u64,
    pub(crate) timeout_ms: u64,
    pub(crate) stale_seconds: u64,
    pub(crate) on_feed_error: OnFeedError,
    pub(crate) max_sessions: usize,
}

/// What tokens are worth while revocations cannot be learned.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnFeedError {
    Allow,
    Deny,
}

impl PartialEq for Revocations {
    fn eq(&self, other: &Self) -> bool {
        fn all(revocations: &Revocations) -> impl PartialEq + '_ {
            // Without `..`, so that a new setting cannot be left out.
            let Revocations {
                url,
                secret,
                interval_ms,
                timeout_ms,
                stale_seconds,
                on_feed_error,
                max_sessions,
            } = revocations;
            let secret = secret.as_ref().map(ExposeSecret::expose_secret);
            let numbers = (interval_ms, timeout_ms, stale_seconds, max_sessions);
            (url, secret, numbers, on_feed_error)
        }
        all(self) == all(other)
    }
}
