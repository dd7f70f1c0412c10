//! Where the endpoints of a provider are (OpenID Connect Discovery 1.0).

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use chrono::{DateTime, TimeDelta, Utc};
use quartet_common::clock::Clock;
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

use super::{error::ProviderError, http::ProviderClient};
use crate::config::{logins::ProviderConfig, model::LoginKind};

/// After this time it is fetched again.
const FRESH: TimeDelta = TimeDelta::minutes(5);
/// Least time between two attempts while the provider is away.
const FAILURE_KEPT: TimeDelta = TimeDelta::seconds(1);

/// What is used of a provider's metadata.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) issuer: String,
    pub(crate) authorization_endpoint: Url,
    pub(crate) token_endpoint: Url,
    #[serde(default)]
    pub(crate) userinfo_endpoint: Option<Url>,
    #[serde(default)]
    pub(crate) end_session_endpoint: Option<Url>,
    #[serde(default)]
    pub(crate) revocation_endpoint: Option<Url>,
    #[serde(default)]
    pub(crate) token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// RFC 9207.
    #[serde(default)]
    pub(crate) authorization_response_iss_parameter_supported: bool,
}

/// The metadata of one provider: fetched by one request for all that wait.
#[derive(Debug)]
pub(crate) struct MetadataCache {
    known: ArcSwapOption<(DateTime<Utc>, Arc<Metadata>)>,
    failed_at: Mutex<Option<DateTime<Utc>>>,
    clock: Clock,
}

impl MetadataCache {
    pub(crate) fn new(config: &ProviderConfig, clock: Clock) -> Self {
        let fixed = github(config).map(|metadata| (DateTime::<Utc>::MAX_UTC, Arc::new(metadata)));
        Self {
            known: ArcSwapOption::from_pointee(fixed),
            failed_at: Mutex::default(),
            clock,
        }
    }

    /// What is known, however old.
    pub(crate) fn known(&self) -> Option<Arc<Metadata>> {
        self.known.load().as_ref().map(|known| Arc::clone(&known.1))
    }

    /// The metadata. What is known stays in use while the provider is away.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub(crate) async fn get(
        &self,
        config: &ProviderConfig,
        client: &ProviderClient,
    ) -> Result<Arc<Metadata>, ProviderError> {
        if let Some(fresh) = self.fresh() {
            return Ok(fresh);
        }
        // Each fetch is bounded; others wait for this one, and then find its result.
        let mut failed_at = self.failed_at.lock().await;
        if let Some(fresh) = self.fresh() {
            return Ok(fresh);
        }
        let now = self.clock.now();
        let is_recent = failed_at.is_some_and(|at| (now - at).abs() < FAILURE_KEPT);
        let fetched = if is_recent {
            Err(ProviderError::Recently)
        } else {
            fetch(config, client).await
        };
        match (fetched, self.known()) {
            (Ok(metadata), _) => {
                let metadata = Arc::new(metadata);
                *failed_at = None;
                let known = (self.clock.now(), Arc::clone(&metadata));
                self.known.store(Some(Arc::new(known)));
                Ok(metadata)
            }
            (Err(error), known) => {
                if !is_recent {
                    *failed_at = Some(self.clock.now());
                }
                known.ok_or(error)
            }
        }
    }

    fn fresh(&self) -> Option<Arc<Metadata>> {
        let known = self.known.load();
        let (at, metadata) = &**known.as_ref()?;
        let age = self.clock.now().signed_duration_since(*at);
        (age < FRESH).then(|| Arc::clone(metadata))
    }
}

async fn fetch(
    config: &ProviderConfig,
    client: &ProviderClient,
) -> Result<Metadata, ProviderError> {
    let url = format!(
        "{}/.well-known/openid-configuration",
        config.issuer.trim_end_matches('/')
    );
    let url = url.parse().map_err(|_| ProviderError::Endpoint("issuer"))?;
    let metadata: Metadata = client.get(url, None).await?;
    check(metadata, config)
}

/// Metadata has to be the issuer's own (OpenID Connect Discovery 1.0, 4.3), and nothing is sent less securely
/// than it was fetched.
fn check(metadata: Metadata, config: &ProviderConfig) -> Result<Metadata, ProviderError> {
    if metadata.issuer != config.issuer {
        return Err(ProviderError::OtherIssuer);
    }
    let is_plain = config.issuer.starts_with("http://");
    let endpoints = [
        (
            "authorization_endpoint",
            Some(&metadata.authorization_endpoint),
        ),
        ("token_endpoint", Some(&metadata.token_endpoint)),
        ("userinfo_endpoint", metadata.userinfo_endpoint.as_ref()),
        (
            "end_session_endpoint",
            metadata.end_session_endpoint.as_ref(),
        ),
        ("revocation_endpoint", metadata.revocation_endpoint.as_ref()),
    ];
    for (name, url) in endpoints {
        let is_usable = |url: &Url| {
            let scheme = url.scheme() == "https" || (is_plain && url.scheme() == "http");
            scheme && url.has_host() && url.fragment().is_none()
        };
        if url.is_some_and(|url| !is_usable(url)) {
            return Err(ProviderError::Endpoint(name));
        }
    }
    Ok(metadata)
}

/// GitHub has none; its endpoints are fixed.
fn github(config: &ProviderConfig) -> Option<Metadata> {
    if config.kind != LoginKind::Github {
        return None;
    }
    let url = |path: &str| format!("{}{path}", config.issuer).parse().ok();
    Some(Metadata {
        issuer: config.issuer.clone(),
        authorization_endpoint: url("/login/oauth/authorize")?,
        token_endpoint: url("/login/oauth/access_token")?,
        userinfo_endpoint: None,
        end_session_endpoint: None,
        revocation_endpoint: None,
        token_endpoint_auth_methods_supported: Some(vec!["client_secret_post".to_owned()]),
        authorization_response_iss_parameter_supported: false,
    })
}
