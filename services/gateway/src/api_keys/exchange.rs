//! Asks core for the access token of a key.

use std::{fmt, sync::Arc, time::Duration};

use quartet_auth::signature::Signer;
use quartet_common::clock::Clock;
use serde::Deserialize;
use serde_json::json;

use crate::{
    config::model,
    signed::{SignedClient, SignedError},
};

/// A longer response is none of core's.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// A longer lifetime is none of core's, which has 30 days at most.
const MAX_TTL_SECONDS: u64 = 30 * 86_400;
/// The id of every request. Repeating one is harmless, so that it need not differ.
const SIGNED_ID: &str = "api-keys";

#[derive(Deserialize)]
struct Exchanged {
    /// `None`: there is no live key like that.
    access_token: Option<Arc<str>>,
    expires_in: u64,
}

pub(super) struct Exchange {
    client: SignedClient,
    clock: Clock,
    /// By outcome.
    count: Box<dyn Fn(&'static str) + Send + Sync>,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}

impl Exchange {
    /// `None`: there is no URL, or no secret.
    pub(super) fn new(
        settings: &model::ApiKeys,
        revocations: &model::Revocations,
        clock: Clock,
        count: Box<dyn Fn(&'static str) + Send + Sync>,
    ) -> Result<Option<Self>, reqwest::Error> {
        let signer = revocations.secret.as_ref().and_then(Signer::new);
        let (Some(url), Some(signer)) = (settings.url.clone(), signer) else {
            return Ok(None);
        };
        let timeout = Duration::from_millis(settings.timeout_ms);
        let client = SignedClient::new(url, signer, timeout, MAX_BODY_BYTES)?;
        Ok(Some(Self {
            client,
            clock,
            count,
        }))
    }

    /// A token and its lifetime; `None`: core knows no such key.
    pub(super) async fn token(
        &self,
        key: &str,
    ) -> Result<Option<(Arc<str>, Duration)>, SignedError> {
        let body = json!({ "key": key }).to_string();
        let answer = self.client.post(SIGNED_ID, self.clock.now(), body).await;
        let result = match answer {
            Ok(body) => read(&body),
            Err(error) => Err(error),
        };
        (self.count)(match &result {
            Ok(Some(_)) => "exchanged",
            Ok(None) => "unknown",
            Err(_) => "failed",
        });
        if let Err(error) = &result {
            let error: &dyn std::error::Error = error;
            tracing::warn!(target: "quartet", error, "an API key cannot be verified");
        }
        result
    }
}

fn read(body: &[u8]) -> Result<Option<(Arc<str>, Duration)>, SignedError> {
    let exchanged: Exchanged = serde_json::from_slice(body)?;
    let seconds = exchanged.expires_in.min(MAX_TTL_SECONDS);
    let token = exchanged.access_token;
    Ok(token.map(|token| (token, Duration::from_secs(seconds))))
}
