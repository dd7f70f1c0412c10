//! One login of the configuration, with what it knows of its provider and its sessions.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, header};
use prometheus_client::metrics::counter::Counter;
use quartet_auth::jwt::{ClaimMapping, IssuerSettings, JwtVerifier, KeySource};
use quartet_common::{clock::Clock, config::ConfigError};
use url::Url;

use super::{
    cookie::{self, Cookies},
    failure::LoginFailure,
    flow::{FLOW_SECONDS, Flow, FlowClient},
    ids::{SessionKey, challenge, random_name},
    live::Session,
    pages,
    provider::{MetadataCache, ProviderClient},
    record::Secret,
    store::{CachedSession, CommandStore, MemoryStore, RedisStore, Store, StoreAway},
    target::Targets,
};
use crate::{
    config::{
        logins::{LoginConfig, SessionStorage},
        model::LoginKind,
    },
    metrics::GatewayMetrics,
    reply::{GatewayResponse, Reply},
    request::{Headers, RequestFacts},
    revocations::{Revocations, open::OpenSessions},
};

/// How old keys of the provider may be.
const KEYS_REFRESH_SECONDS: u64 = 300;

/// A login.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) config: LoginConfig,
    pub(super) cookies: Cookies,
    pub(super) store: Store,
    pub(super) client: ProviderClient,
    pub(super) metadata: Arc<MetadataCache>,
    /// Of ID tokens; of access tokens for core. `None`: there are none.
    pub(super) verifier: Option<JwtVerifier>,
    pub(super) revocations: Arc<Revocations>,
    pub(super) clock: Clock,
    pub(super) counts: LoginCounts,
}

/// What a login is built from.
#[derive(Clone, Copy)]
pub(crate) struct LoginParts<'p> {
    /// That of this name before.
    pub(crate) previous: Option<&'p Login>,
    /// The Redis of the configuration.
    pub(crate) commands: Option<&'p Arc<dyn CommandStore>>,
    /// Of `[jwt]`.
    pub(crate) core: Option<&'p JwtVerifier>,
    pub(crate) revocations: &'p Arc<Revocations>,
    pub(crate) clock: &'p Clock,
    pub(crate) metrics: &'p GatewayMetrics,
}

/// Outcomes of one login.
#[derive(Debug)]
pub(super) struct LoginCounts {
    pub(super) succeeded: Counter,
    pub(super) failed: Counter,
    pub(super) logged_out: Counter,
    pub(super) refreshed: Counter,
    pub(super) refresh_failed: Counter,
}

/// What a request has of a session.
#[derive(Debug)]
pub(crate) enum FoundSession {
    Session(Arc<Session>),
    None,
    /// The store or the provider has to be asked: [`Login::find`].
    Later,
}

impl Login {
    /// # Errors
    /// When nothing can be fetched over TLS here, or a part of the configuration is missing.
    pub(crate) fn build(config: LoginConfig, parts: LoginParts<'_>) -> Result<Self, ConfigError> {
        let key = format!("logins.{}", config.name);
        let invalid =
            |field: &str, rule: String| ConfigError::invalid(&format!("{key}.{field}"), rule);
        let known = parts
            .previous
            .filter(|known| known.config.is_same_provider(&config));
        let client = match known {
            Some(known) => known.client.clone(),
            None => ProviderClient::new(&config.provider)
                .map_err(|error| invalid("issuer", error.to_string()))?,
        };
        let metadata = known.map(|known| Arc::clone(&known.metadata));
        let metadata = metadata
            .unwrap_or_else(|| Arc::new(MetadataCache::new(&config.provider, parts.clock.clone())));
        let verifier = match (config.provider.kind, known) {
            (LoginKind::Github, _) => None,
            (LoginKind::Core, _) => {
                let rule = "needs [jwt], which verifies the tokens of core";
                let core = parts.core.ok_or_else(|| invalid("kind", rule.to_owned()))?;
                Some(core.clone())
            }
            (_, Some(known)) => known.verifier.clone(),
            (_, None) => Some(verifier(&config, &client, parts.clock)?),
        };
        Ok(Self {
            cookies: Cookies::new(&config),
            store: store(&config, parts)
                .ok_or_else(|| invalid("store", "needs [rate_limit_store]".to_owned()))?,
            client,
            metadata,
            verifier,
            revocations: Arc::clone(parts.revocations),
            clock: parts.clock.clone(),
            counts: LoginCounts::new(&config.name, parts.metrics),
            config,
        })
    }

    /// Seconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        self.clock.now().timestamp()
    }

    pub(super) fn targets(&self) -> Targets<'_> {
        Targets {
            base: &self.config.base_url,
            hosts: &self.config.allowed_targets,
        }
    }

    /// Forgets what is over. The number of sessions, if they are in the memory of this process.
    pub(crate) async fn sweep(&self) -> Option<usize> {
        match &self.store {
            Store::Memory(store) => {
                store.sweep(self.now());
                Some(store.len())
            }
            Store::Redis(store) => {
                store.watch().await;
                None
            }
        }
    }

    /// What closes sockets at the end of their session.
    pub(crate) fn open_sessions(&self) -> &Arc<OpenSessions> {
        self.store.open()
    }

    /// The session of a request, without waiting.
    pub(crate) fn find_now(&self, headers: &dyn Headers) -> FoundSession {
        let now = self.now();
        let mut is_unknown = false;
        for key in cookie::keys(headers, &self.cookies.session) {
            match self.store.find_now(&key, now) {
                CachedSession::Session(session) if self.needs_time(&session, now) => {
                    return FoundSession::Later;
                }
                CachedSession::Session(session) => return FoundSession::Session(session),
                CachedSession::Unknown => is_unknown = true,
                CachedSession::None => {}
            }
        }
        if is_unknown {
            FoundSession::Later
        } else {
            FoundSession::None
        }
    }

    /// The session of a request as it is stored.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(super) async fn stored(
        &self,
        headers: &dyn Headers,
    ) -> Result<Option<Arc<Session>>, StoreAway> {
        let now = self.now();
        for key in cookie::keys(headers, &self.cookies.session) {
            let found = match self.store.find_now(&key, now) {
                CachedSession::Session(session) => Some(session),
                CachedSession::None => None,
                CachedSession::Unknown => self.store.find(&key, now).await?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Notes that a request was let through by its session.
    pub(crate) fn note_use(&self, session: &Session) {
        self.store.touch(session, self.now());
    }

    /// Whether the session of core has ended before this one.
    pub(super) fn is_revoked(&self, session: &Session) -> bool {
        let sid = session.record.identity.sid.as_deref();
        self.config.is_core() && sid.is_some_and(|sid| self.revocations.is_revoked(sid))
    }

    fn needs_time(&self, session: &Session, now: i64) -> bool {
        self.is_due(session, now) || self.is_revoked(session)
    }

    /// Begins a flow, and sends the browser to the provider. `prompt`: what the provider should ask for.
    ///
    /// # Errors
    /// [`LoginFailure`].
    pub(super) async fn begin(
        &self,
        facts: &RequestFacts<'_>,
        target: String,
        prompt: Option<&str>,
    ) -> Result<Reply, LoginFailure> {
        let provider = &self.config.provider;
        let metadata = self.metadata.get(provider, &self.client).await?;
        let (state, nonce, verifier) = (random_name(), random_name(), random_name());
        let browser = self.browser(facts.headers);
        let flow = Flow {
            browser: SessionKey::of(browser.as_bytes()).hex(),
            nonce: Secret(nonce.clone()),
            verifier: Secret(verifier.clone()),
            target,
            started_at: self.now(),
            is_used: false,
        };
        let key = SessionKey::of(state.as_bytes());
        let client = FlowClient::of(facts.client_ip);
        self.store
            .insert_flow(key, flow, client, self.config.max_flows)
            .await?;
        let mut url: Url = metadata.authorization_endpoint.clone();
        {
            let redirect_uri = self.redirect_uri();
            let mut query = url.query_pairs_mut();
            query
                .append_pair("response_type", "code")
                .append_pair("client_id", &provider.client_id)
                .append_pair("redirect_uri", &redirect_uri)
                .append_pair("scope", &provider.scopes)
                .append_pair("state", &state)
                .append_pair("code_challenge", &challenge(&verifier))
                .append_pair("code_challenge_method", "S256");
            if provider.kind != LoginKind::Github {
                query.append_pair("nonce", &nonce);
            }
            for (name, value) in &provider.parameters {
                if prompt.is_none() || name != "prompt" {
                    query.append_pair(name, value);
                }
            }
            if let Some(prompt) = prompt {
                query.append_pair("prompt", prompt);
            }
        }
        let reply = redirect(url.as_str());
        // The cookie of a browser that has one begins its life again.
        let age = Duration::from_secs(FLOW_SECONDS.unsigned_abs());
        let cookie = self.cookies.set_flow(&browser, age);
        Ok(reply.header(header::SET_COOKIE, cookie))
    }

    /// The name of the browser: a new one, if it has none yet.
    fn browser(&self, headers: &dyn Headers) -> String {
        let known = self.cookies.flows(headers).next();
        known.map_or_else(random_name, |(_, browser)| browser.to_owned())
    }

    pub(super) fn redirect_uri(&self) -> String {
        let base = self.config.base_url.as_str().trim_end_matches('/');
        format!("{base}{}", self.config.callback_path())
    }

    /// The page on which a login begins.
    pub(super) fn login_link(&self, target: &str) -> String {
        self.link("login", target)
    }

    pub(super) fn link(&self, page: &str, target: &str) -> String {
        let target: String = url::form_urlencoded::byte_serialize(target.as_bytes()).collect();
        format!("{}/{page}?return_to={target}", self.config.path)
    }

    /// The page about a failure, which counts. Nothing of this login is left in the browser; a session from
    /// before stays, or any link to such a page would log people out.
    pub(super) async fn failed(
        &self,
        failure: LoginFailure,
        target: &str,
        headers: &dyn Headers,
    ) -> Box<GatewayResponse> {
        self.counts.failed.inc();
        let page = match failure {
            LoginFailure::NotAllowed(_) => "login?switch=1&return_to",
            _ => "login?return_to",
        };
        let target: String = url::form_urlencoded::byte_serialize(target.as_bytes()).collect();
        let again = format!("{}/{page}={target}", self.config.path);
        let cookies = match self.stored(headers).await {
            Ok(None) => self.cleared(headers),
            Ok(Some(_)) | Err(_) => self.cleared_flows(headers).collect(),
        };
        pages::failure(failure, again, cookies)
    }

    /// Removes what the browser has of this login.
    pub(super) fn cleared(&self, headers: &dyn Headers) -> Vec<HeaderValue> {
        let session = &*self.cookies.session;
        let mut cookies: Vec<_> = self.cleared_flows(headers).collect();
        if headers.cookies(session).next().is_some() {
            cookies.push(self.cookies.clear(session));
        }
        cookies
    }

    fn cleared_flows<'h>(&'h self, headers: &'h dyn Headers) -> impl Iterator<Item = HeaderValue> {
        let flows = self.cookies.flows(headers);
        flows.map(move |(name, _)| self.cookies.clear(name))
    }
}

/// 302; never stored.
pub(super) fn redirect(location: &str) -> Reply {
    let location = HeaderValue::try_from(location).unwrap_or(HeaderValue::from_static("/"));
    Reply::no_content()
        .status(http::StatusCode::FOUND)
        .header(header::LOCATION, location)
        .header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

impl LoginCounts {
    fn new(login: &Arc<str>, metrics: &GatewayMetrics) -> Self {
        let count = |outcome| metrics.logins(login, outcome);
        Self {
            succeeded: count("succeeded"),
            failed: count("failed"),
            logged_out: count("logged_out"),
            refreshed: count("refreshed"),
            refresh_failed: count("refresh_failed"),
        }
    }
}

fn verifier(
    config: &LoginConfig,
    client: &ProviderClient,
    clock: &Clock,
) -> Result<JwtVerifier, ConfigError> {
    let provider = &config.provider;
    let key = format!("logins.{}.issuer", config.name);
    let url = provider.issuer.parse();
    let url: Url = url.map_err(|_| ConfigError::invalid(&key, "must be a URL".to_owned()))?;
    let settings = IssuerSettings {
        issuer: Some(provider.issuer.clone()),
        audiences: vec![provider.client_id.clone()],
        token_type: None,
        keys: KeySource::Discovery(url),
        algorithms: Vec::new(),
        refresh_seconds: KEYS_REFRESH_SECONDS,
        leeway_seconds: provider.leeway_seconds,
        mapping: ClaimMapping::default(),
    };
    let verifier = JwtVerifier::of_issuer_over(settings, clock.clone(), Some(client.inner()));
    verifier.map_err(|error| ConfigError::invalid(&key, error.to_string()))
}

/// With the sessions of the one before, if they may still be used. `None`: there is no Redis.
fn store(config: &LoginConfig, parts: LoginParts<'_>) -> Option<Store> {
    let known = parts
        .previous
        .filter(|known| known.config.keeps_sessions_of(config));
    match &config.store {
        SessionStorage::Memory { max_sessions } => {
            let store = match known.map(|known| &known.store) {
                Some(Store::Memory(store)) => Arc::clone(store),
                _ => Arc::new(MemoryStore::new()),
            };
            let idle = i64::try_from(config.idle.as_secs()).unwrap_or(i64::MAX);
            store.set_bounds(idle, *max_sessions);
            Some(Store::Memory(store))
        }
        SessionStorage::Redis { key } => {
            let open = known.map(|known| known.store.open());
            let commands = Arc::clone(parts.commands?);
            let store = RedisStore::new(commands, key.clone(), config, open);
            Some(Store::Redis(Arc::new(store)))
        }
    }
}
