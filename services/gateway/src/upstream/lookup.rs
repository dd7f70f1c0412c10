//! The upstream of a request by a segment of its path: `/v1/bot/{id}/*`.
//!
//! - The table of the configuration is asked first, then an endpoint of an upstream.
//! - Answers are kept for a time, that there is none for a shorter one, and both in a bounded number:
//!   a flood of keys that do not exist evicts what is rarely asked for, and costs no more memory.
//! - One request asks for a key, the others wait for its answer; the keys that are asked for at the same
//!   time are bounded too.
//! - While the endpoint cannot be asked, an old answer counts for a further time.
//! - **What an answer may be is configured**, never what it happens to be: port, and host or network. A
//!   name is resolved here, and its addresses are checked and used; no one resolves it again.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use moka::sync::Cache;
use quartet_common::causes;
use serde::Deserialize;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    client::{self, UpstreamClient},
    discovery::Resolver,
    key::BalanceKey,
    replicas::Upstream,
};
use crate::{
    config::{
        Host, addresses,
        lookups::{LookupConfig, LookupEndpoint},
        model,
    },
    response_body::read_body,
};

/// Of the answer of an endpoint.
const MAX_ANSWER_BYTES: usize = 4 * 1024;
/// Longer keys are unknown.
const MAX_KEY_BYTES: usize = 256;
/// Of one name; more are not used.
const MAX_ADDRESSES: usize = 16;
/// Between a failure and the next try for the same key.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Then /etc/resolv.conf is read again.
const RESOLVER_AGE: Duration = Duration::from_mins(1);

/// Why a key has no upstream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LookupError {
    /// Neither the table nor the endpoint has the key.
    #[error("the key is unknown")]
    Unknown,
    #[error("the address must not be used: {0}")]
    Refused(String),
    #[error("the address could not be looked up: {0}")]
    Failed(String),
}

/// How a lookup ended, for its metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LookupOutcome {
    Found,
    Unknown,
    Refused,
    Failed,
    /// It failed, and an old answer counts.
    Stale,
}

type Answer = Result<Arc<Upstream>, LookupError>;

/// A lookup of the configuration, and what it has found.
pub(crate) struct AddressLookup {
    pub(crate) config: LookupConfig,
    endpoint: Option<Arc<Upstream>>,
    discovery: model::Discovery,
    client: UpstreamClient,
    entries: Cache<String, Arc<Entry>>,
    in_flight: Semaphore,
    resolver: tokio::sync::Mutex<Option<(Instant, Arc<Resolver>)>>,
    count: Box<dyn Fn(LookupOutcome) + Send + Sync>,
}

/// One key.
#[derive(Default)]
struct Entry {
    known: Mutex<Option<KnownAnswer>>,
    /// Held by the request that asks.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct KnownAnswer {
    answer: Answer,
    until: Instant,
    /// Later than `until` if it is old, and was asked for in vain: when it is asked for again.
    paused_until: Instant,
}

/// `{ "address": "host:port" }`; what else an endpoint says is its own matter.
#[derive(Deserialize)]
struct AddressBody {
    address: String,
}

impl std::fmt::Debug for AddressLookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AddressLookup")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl AddressLookup {
    /// `upstreams` are all upstreams of the configuration. Takes over what `previous`, the lookup of this
    /// name before a reload, has found, if it would find the same.
    pub(crate) fn new(
        config: LookupConfig,
        upstreams: &[Arc<Upstream>],
        discovery: &model::Discovery,
        previous: Option<&Self>,
        count: impl Fn(LookupOutcome) + Send + Sync + 'static,
    ) -> Self {
        let endpoint = endpoint_of(&config, upstreams);
        let alike = previous.filter(|previous| previous.is_alike(&config, endpoint, discovery));
        Self {
            endpoint: endpoint.cloned(),
            discovery: discovery.clone(),
            client: UpstreamClient::new(),
            entries: alike.map_or_else(
                || Cache::new(config.max_entries),
                |previous| previous.entries.clone(),
            ),
            in_flight: Semaphore::new(config.max_in_flight),
            resolver: tokio::sync::Mutex::default(),
            count: Box::new(count),
            config,
        }
    }

    /// Whether this one does the same as one with these settings.
    pub(crate) fn serves(
        &self,
        config: &LookupConfig,
        upstreams: &[Arc<Upstream>],
        discovery: &model::Discovery,
    ) -> bool {
        let endpoint = endpoint_of(config, upstreams);
        let is_same = match (&self.endpoint, endpoint) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (own, other) => own.is_none() && other.is_none(),
        };
        is_same && self.is_alike(config, endpoint, discovery)
    }

    /// Whether it asks the same, and allows the same answers. The place of the upstream among the others,
    /// and how it is connected to, do not matter.
    fn is_alike(
        &self,
        config: &LookupConfig,
        endpoint: Option<&Arc<Upstream>>,
        discovery: &model::Discovery,
    ) -> bool {
        let name = |upstream: &Arc<Upstream>| Arc::clone(&upstream.config.name);
        let mut own = self.config.clone();
        if let (Some(own), Some(other)) = (&mut own.endpoint, &config.endpoint) {
            own.upstream = other.upstream;
        }
        self.endpoint.as_ref().map(name) == endpoint.map(name)
            && own == *config
            && self.discovery == *discovery
    }

    /// The answer, if nothing has to be asked for it.
    pub(crate) fn known(&self, key: &str) -> Option<Answer> {
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Some(Err(LookupError::Unknown));
        }
        self.entries.get(key)?.fresh(Instant::now())
    }

    /// Looks the key up, unless it is known.
    ///
    /// # Errors
    /// Every [`LookupError`].
    pub(crate) async fn find(&self, key: &str) -> Answer {
        if let Some(known) = self.known(key) {
            return known;
        }
        let entry = self.entries.get_with_by_ref(key, Arc::default);
        // The one that asks is done by then.
        let waiting = timeout(self.config.timeout * 2, entry.asking.lock()).await;
        let Ok(_asking) = waiting else {
            return Err(LookupError::Failed("timed out".to_owned()));
        };
        if let Some(known) = entry.fresh(Instant::now()) {
            return known;
        }
        let Ok(_permit) = self.in_flight.try_acquire() else {
            return self.conclude(
                &entry,
                Err(LookupError::Failed("too many lookups".to_owned())),
            );
        };
        let before = entry.upstream();
        let asked = timeout(self.config.timeout, self.ask(key, before.as_ref())).await;
        let answer = asked.unwrap_or_else(|_| {
            let milliseconds = self.config.timeout.as_millis();
            Err(LookupError::Failed(format!(
                "timed out after {milliseconds} ms"
            )))
        });
        self.conclude(&entry, answer)
    }

    /// Addresses of upstreams that are in use.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let upstreams = self
            .entries
            .iter()
            .filter_map(|(_, entry)| entry.upstream());
        let replicas = upstreams.flat_map(|upstream| upstream.replicas().to_vec());
        replicas.map(|replica| replica.address).collect()
    }

    /// Remembers an answer, or an old one in its place.
    fn conclude(&self, entry: &Entry, answer: Answer) -> Answer {
        let now = Instant::now();
        let mut known = entry.lock();
        let (kept, outcome) = match (answer, known.take()) {
            (Err(LookupError::Failed(why)), Some(before))
                if before.answer.is_ok() && before.until + self.config.stale > now =>
            {
                tracing::warn!(target: "quartet", lookup = &*self.config.name, error = why,
                    "lookup failed; the known address stays in use");
                let stale = KnownAnswer {
                    paused_until: now + RETRY_PAUSE,
                    ..before
                };
                (stale, LookupOutcome::Stale)
            }
            (answer, _) => {
                let (ttl, outcome) = match &answer {
                    Ok(_) => (self.config.ttl, LookupOutcome::Found),
                    Err(LookupError::Unknown) => (self.config.unknown_ttl, LookupOutcome::Unknown),
                    Err(LookupError::Refused(why)) => {
                        tracing::warn!(target: "quartet", lookup = &*self.config.name,
                            error = why, "lookup found an address that is not allowed");
                        (self.config.unknown_ttl, LookupOutcome::Refused)
                    }
                    Err(LookupError::Failed(_)) => (RETRY_PAUSE, LookupOutcome::Failed),
                };
                let fresh = KnownAnswer {
                    answer,
                    until: now + ttl,
                    paused_until: now,
                };
                (fresh, outcome)
            }
        };
        (self.count)(outcome);
        let answer = kept.answer.clone();
        *known = Some(kept);
        answer
    }

    async fn ask(&self, key: &str, before: Option<&Arc<Upstream>>) -> Answer {
        let text = match (self.config.table.get(key), &self.config.endpoint) {
            (Some(address), _) => address.clone(),
            (None, Some(endpoint)) => self.ask_endpoint(endpoint, key).await?,
            (None, None) => return Err(LookupError::Unknown),
        };
        let refused = |rule: &str| LookupError::Refused(format!("{text}: {rule}"));
        let (host, port) = addresses::parse_address(&text).map_err(|rule| refused(&rule))?;
        self.config.guard.check(&host, port).map_err(refused)?;
        let ips = match host {
            Host::Ip(ip) => vec![ip],
            Host::Name(name) => self.resolve(&name).await?,
            // The guard has refused it.
            Host::Service(_) | Host::Kubernetes(_) => Vec::new(),
        };
        let allowed: Result<Vec<SocketAddr>, &str> = ips
            .into_iter()
            .take(MAX_ADDRESSES)
            .map(|ip| {
                self.config.guard.check_ip(ip)?;
                Ok(SocketAddr::new(ip, port))
            })
            .collect();
        // A name with one address that is not allowed is not to be trusted with the others.
        self.upstream(&allowed.map_err(refused)?, before)
            .map_err(|rule| refused(&rule))
    }

    /// The upstream before, if it has these addresses; else its health is carried over.
    fn upstream(
        &self,
        addresses: &[SocketAddr],
        before: Option<&Arc<Upstream>>,
    ) -> Result<Arc<Upstream>, String> {
        let (name, connect) = (&self.config.name, self.config.connect_timeout);
        let config = addresses::upstream_of(name, addresses, connect)?;
        Ok(match before {
            Some(before) if before.config == config => Arc::clone(before),
            before => Arc::new(Upstream::new(config, before.map(|before| &**before))),
        })
    }

    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        let failed = |error: String| LookupError::Failed(format!("{name}: {error}"));
        let resolver = {
            let mut known = self.resolver.lock().await;
            match &*known {
                Some((built, resolver)) if built.elapsed() < RESOLVER_AGE => Arc::clone(resolver),
                _ => {
                    let built = Resolver::new(&self.discovery);
                    let built = Arc::new(built.map_err(|error| failed(format!("{error:#}")))?);
                    *known = Some((Instant::now(), Arc::clone(&built)));
                    built
                }
            }
        };
        resolver.addresses(name).await.map_err(failed)
    }

    /// One replica after the other, until one answers.
    async fn ask_endpoint(
        &self,
        endpoint: &LookupEndpoint,
        key: &str,
    ) -> Result<String, LookupError> {
        let Some(upstream) = &self.endpoint else {
            return Err(LookupError::Failed("there is no endpoint".to_owned()));
        };
        let target = endpoint.path.text.replace("{key}", key);
        let mut tried = Vec::new();
        let mut last = LookupError::Failed("no replica can be reached".to_owned());
        while let Some(lease) = upstream.acquire(BalanceKey::default(), &tried, Instant::now()) {
            tried.push(lease.address);
            let method = http::Method::GET;
            let request = self
                .client
                .request(method, upstream, lease.address, &target, None);
            let request = request.map_err(|error| LookupError::Failed(format!("{error:#}")))?;
            let headers = endpoint.headers.iter().cloned().collect();
            let request = request.headers(headers);
            match client::send(request, &lease).await {
                Ok(response) if response.status().is_server_error() => {
                    last = LookupError::Failed(format!("status {}", response.status()));
                }
                Ok(response) => return read_answer(response).await,
                Err(error) => last = LookupError::Failed(error.to_string()),
            }
        }
        Err(last)
    }
}

fn endpoint_of<'u>(
    config: &LookupConfig,
    upstreams: &'u [Arc<Upstream>],
) -> Option<&'u Arc<Upstream>> {
    let endpoint = config.endpoint.as_ref()?;
    upstreams.get(endpoint.upstream)
}

async fn read_answer(response: reqwest::Response) -> Result<String, LookupError> {
    match response.status().as_u16() {
        200 => {}
        404 | 410 => return Err(LookupError::Unknown),
        status => return Err(LookupError::Failed(format!("status {status}"))),
    }
    let body = read_body(response, MAX_ANSWER_BYTES).await;
    let body = body.map_err(|error| LookupError::Failed(causes(&error)))?;
    let body: AddressBody = serde_json::from_slice(&body)
        .map_err(|error| LookupError::Failed(format!("the answer is invalid: {error}")))?;
    Ok(body.address)
}

impl Entry {
    fn lock(&self) -> MutexGuard<'_, Option<KnownAnswer>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer, if it need not be asked for.
    fn fresh(&self, now: Instant) -> Option<Answer> {
        let known = self.lock();
        let known = known.as_ref()?;
        (now < known.until.max(known.paused_until)).then(|| known.answer.clone())
    }

    fn upstream(&self) -> Option<Arc<Upstream>> {
        self.lock().as_ref()?.answer.clone().ok()
    }
}
