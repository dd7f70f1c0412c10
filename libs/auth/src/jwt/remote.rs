//! Fetches the keys of an issuer, once for all who need them.
//!
//! ```text
//!          get                       outcome
//! idle ----------> fetching (task) ----------> idle, outcome remembered:
//!                     ^ waiters join             a success 10 s, a failure 1 s
//! ```
//!
//! The fetch is a task of its own: a waiter that leaves does not cancel it, and one that has waited
//! for two seconds gives up although the fetch continues. A slow or absent issuer therefore costs a request
//! at most that, however many requests there are; without the shared task they would fetch one
//! after the other, each with the full timeout.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::jwk::JwkSet;
use quartet_common::{causes, clock::Clock};
use serde::Deserialize;
use tokio::sync::watch;
use url::Url;

/// Least time between two fetches because of unknown key ids.
const SUCCESS_KEPT: TimeDelta = TimeDelta::seconds(10);
/// Least time between two fetches while the issuer is away.
const FAILURE_KEPT: TimeDelta = TimeDelta::seconds(1);
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request waits for a fetch.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// A longer body is a failure.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// Why the keys are not available.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("the issuer does not respond as expected")]
    Http(#[source] Arc<reqwest::Error>),
    #[error("the issuer's key set is longer than {MAX_BODY_BYTES} bytes")]
    TooLong,
    #[error("the issuer's key set is not valid")]
    Invalid(#[source] Arc<serde_json::Error>),
    #[error("the issuer publishes no key that can verify tokens")]
    NoKeys,
    #[error("the issuer takes longer than {} s", MAX_WAIT.as_secs())]
    Slow,
    #[error("the fetch was canceled")]
    Canceled,
    #[error("the issuer's configuration is not valid")]
    InvalidConfiguration(#[source] Arc<serde_json::Error>),
    #[error("the issuer's configuration is that of another issuer")]
    OtherIssuer,
    #[error("the issuer's configuration has no usable jwks_uri")]
    NoJwksUri,
}

/// A key set as it is sent. A key that cannot be read keeps no other from being used (RFC 7517, 5).
#[derive(Deserialize)]
struct PublishedKeySet {
    keys: Vec<serde_json::Value>,
}

/// Metadata of an issuer (OpenID Connect Discovery 1.0, 3).
#[derive(Deserialize)]
struct PublishedConfiguration {
    issuer: String,
    jwks_uri: Url,
}

/// Where a key set is.
#[derive(Clone, Debug)]
pub(super) enum Location {
    Jwks(Url),
    /// The issuer as its tokens have it, and the URL of its metadata, which names the key set.
    Discovery {
        issuer: String,
        metadata: Url,
    },
}

impl Location {
    fn url(&self) -> &Url {
        match self {
            Self::Jwks(url) | Self::Discovery { metadata: url, .. } => url,
        }
    }

    /// The metadata of an issuer (OpenID Connect Discovery 1.0, 4).
    pub(super) fn discover(issuer: &str, mut url: Url) -> Self {
        let path = url.path().trim_end_matches('/');
        let path = format!("{path}/.well-known/openid-configuration");
        url.set_path(&path);
        Self::Discovery {
            issuer: issuer.to_owned(),
            metadata: url,
        }
    }
}

type Outcome = Result<(), FetchError>;

/// The address of a key set. Clones share the fetch.
#[derive(Clone)]
pub(super) struct RemoteKeySet {
    location: Arc<Location>,
    client: reqwest::Client,
    clock: Clock,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    running: Option<watch::Receiver<Option<Outcome>>>,
    last: Option<(DateTime<Utc>, Outcome)>,
}

impl RemoteKeySet {
    pub(super) fn new(
        location: Location,
        clock: Clock,
        client: Option<reqwest::Client>,
    ) -> Result<Self, reqwest::Error> {
        let client = match client {
            Some(client) => client,
            None => own_client(&location)?,
        };
        Ok(Self {
            location: Arc::new(location),
            client,
            clock,
            state: Arc::default(),
        })
    }

    /// Fetches, unless the last outcome is recent or a fetch is running, and waits for the outcome.
    /// `install` gets the keys before any waiter learns of the success.
    pub(super) async fn get(&self, install: impl FnOnce(&JwkSet) + Send + 'static) -> Outcome {
        let running = match self.join(install) {
            Ok(running) => running,
            Err(remembered) => return remembered,
        };
        tokio::time::timeout(MAX_WAIT, finished(running))
            .await
            .unwrap_or(Err(FetchError::Slow))
    }

    /// Starts a fetch, unless the last outcome is recent or a fetch is running.
    pub(super) fn start(&self, install: impl FnOnce(&JwkSet) + Send + 'static) {
        drop(self.join(install));
    }

    /// Whether a fetch has ended, with keys or without.
    pub(super) fn has_tried(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.last.is_some()
    }

    /// The fetch that is running or now starts, or the outcome of the last one.
    fn join(
        &self,
        install: impl FnOnce(&JwkSet) + Send + 'static,
    ) -> Result<watch::Receiver<Option<Outcome>>, Outcome> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // A sender that is gone without an outcome belonged to a runtime that has ended.
        let alive = |running: &watch::Receiver<_>| running.has_changed().is_ok();
        if let Some(running) = state.running.as_ref().filter(|running| alive(running)) {
            return Ok(running.clone());
        }
        if let Some((at, outcome)) = &state.last
            && (self.clock.now() - *at).abs() < kept(outcome)
        {
            return Err(outcome.clone());
        }
        let (done, running) = watch::channel(None);
        state.running = Some(running.clone());
        tokio::spawn(self.clone().run(install, done));
        Ok(running)
    }

    async fn run(
        self,
        install: impl FnOnce(&JwkSet) + Send + 'static,
        done: watch::Sender<Option<Outcome>>,
    ) {
        let outcome = self.fetch().await.map(|keys| install(&keys));
        if let Err(error) = &outcome {
            // The causes name the URL.
            tracing::warn!(error = causes(error), "fetching the signing keys failed");
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.last = Some((self.clock.now(), outcome.clone()));
        state.running = None;
        done.send_replace(Some(outcome));
    }

    async fn fetch(&self) -> Result<JwkSet, FetchError> {
        let url = match &*self.location {
            Location::Jwks(url) => url.clone(),
            Location::Discovery { issuer, metadata } => self.discover(issuer, metadata).await?,
        };
        let body = self.get_body(url).await?;
        let published: PublishedKeySet =
            serde_json::from_slice(&body).map_err(|error| FetchError::Invalid(Arc::new(error)))?;
        let keys = published.keys.into_iter();
        Ok(JwkSet {
            keys: keys
                .filter_map(|key| serde_json::from_value(key).ok())
                .collect(),
        })
    }

    /// Where the issuer says that its keys are. Its metadata has to be its own (OpenID Connect Discovery
    /// 1.0, 4.3), and keys are fetched no less securely than the metadata.
    async fn discover(&self, issuer: &str, metadata: &Url) -> Result<Url, FetchError> {
        let body = self.get_body(metadata.clone()).await?;
        let published: PublishedConfiguration = serde_json::from_slice(&body)
            .map_err(|error| FetchError::InvalidConfiguration(Arc::new(error)))?;
        if published.issuer != issuer {
            return Err(FetchError::OtherIssuer);
        }
        let url = published.jwks_uri;
        if url.scheme() != metadata.scheme() || !url.has_host() {
            return Err(FetchError::NoJwksUri);
        }
        Ok(url)
    }

    async fn get_body(&self, url: Url) -> Result<Vec<u8>, FetchError> {
        let http = |error| FetchError::Http(Arc::new(error));
        let request = self.client.get(url).send().await;
        let mut response = request
            .and_then(reqwest::Response::error_for_status)
            .map_err(http)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(http)? {
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(FetchError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

fn own_client(location: &Location) -> Result<reqwest::Client, reqwest::Error> {
    let mut client = reqwest::Client::builder()
        .timeout(FETCH_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none());
    if location.url().scheme() == "http" {
        // Parsing the certificates of the platform takes time and a megabyte, for nothing here.
        client = client.tls_certs_only([]);
    }
    client.build()
}

fn kept(outcome: &Outcome) -> TimeDelta {
    if outcome.is_ok() {
        SUCCESS_KEPT
    } else {
        FAILURE_KEPT
    }
}

async fn finished(mut running: watch::Receiver<Option<Outcome>>) -> Outcome {
    match running.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone().unwrap_or(Err(FetchError::Canceled)),
        Err(_) => Err(FetchError::Canceled),
    }
}
