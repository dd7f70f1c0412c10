//! `/health?deep=1`: the health of every upstream, for those who may know.
//!
//! Upstreams are asked in one round at a time, whatever the number of clients, and a round counts for
//! a second. Each is asked within `health.timeout_ms`.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, StatusCode, header};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use subtle::ConstantTimeEq as _;
use tokio::{sync::Mutex, task::JoinSet, time::timeout};

use super::ask;
use crate::{
    config::model,
    reply::Reply,
    request::Headers,
    snapshot::Snapshot,
    upstream::{Upstream, client::UpstreamClient},
};

const FRESH_FOR: Duration = Duration::from_secs(1);
const SCHEME: &[u8] = b"Bearer ";

/// The last round.
#[derive(Debug)]
pub(crate) struct DeepHealth {
    client: UpstreamClient,
    /// Held by the round that is under way.
    last: Mutex<Option<(Instant, Arc<[UpstreamHealth]>)>>,
}

#[derive(Clone, Debug, Serialize)]
struct UpstreamHealth {
    name: Arc<str>,
    /// Of the response, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    is_up: bool,
    duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Report<'r> {
    /// `ok`, `degraded` if an upstream is down, `down` if one is that is needed.
    status: &'static str,
    upstreams: Vec<ReportedUpstream<'r>>,
}

#[derive(Debug, Serialize)]
struct ReportedUpstream<'r> {
    needed: bool,
    #[serde(flatten)]
    health: &'r UpstreamHealth,
}

impl DeepHealth {
    pub(crate) fn new() -> Self {
        Self {
            client: UpstreamClient::new(),
            last: Mutex::default(),
        }
    }

    /// 503 if an upstream is down that is needed.
    pub(crate) async fn render(&self, snapshot: &Snapshot) -> Reply {
        let upstreams = self.ask_all(snapshot).await;
        let needed = &snapshot.config.model.health.needed;
        let is_needed = |name: &str| needed.iter().any(|needed| needed == name);
        let is_down = |health: &UpstreamHealth| !health.is_up;
        let (status, code) = if upstreams
            .iter()
            .any(|it| is_down(it) && is_needed(&it.name))
        {
            ("down", StatusCode::SERVICE_UNAVAILABLE)
        } else if upstreams.iter().any(is_down) {
            ("degraded", StatusCode::OK)
        } else {
            ("ok", StatusCode::OK)
        };
        let upstreams = upstreams.iter().map(|health| ReportedUpstream {
            needed: is_needed(&health.name),
            health,
        });
        let report = Report {
            status,
            upstreams: upstreams.collect(),
        };
        let body = serde_json::to_vec(&report).unwrap_or_default();
        Reply::ok(HeaderValue::from_static("application/json"), body)
            .status(code)
            .header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
    }

    async fn ask_all(&self, snapshot: &Snapshot) -> Arc<[UpstreamHealth]> {
        let mut last = self.last.lock().await;
        if let Some((at, known)) = &*last
            && at.elapsed() < FRESH_FOR
            && is_of(known, snapshot)
        {
            return Arc::clone(known);
        }
        let settings = &snapshot.config.model.health;
        let mut running = JoinSet::new();
        for upstream in &snapshot.upstreams {
            let (client, upstream) = (self.client.clone(), Arc::clone(upstream));
            let (path, limit) = (
                settings.path.clone(),
                Duration::from_millis(settings.timeout_ms),
            );
            running.spawn(async move { look(&client, &upstream, &path, limit).await });
        }
        let mut found = running.join_all().await;
        found.sort_by(|one, other| one.name.cmp(&other.name));
        let found: Arc<[UpstreamHealth]> = found.into();
        *last = Some((Instant::now(), Arc::clone(&found)));
        found
    }
}

/// A reload may have changed the upstreams.
fn is_of(known: &[UpstreamHealth], snapshot: &Snapshot) -> bool {
    let mut names: Vec<_> = snapshot.upstreams.iter().collect();
    names.sort_by(|one, other| one.config.name.cmp(&other.config.name));
    let names = names.iter().map(|upstream| &upstream.config.name);
    names.eq(known.iter().map(|health| &health.name))
}

/// Up: a replica answers, and not with a failure of its own.
async fn look(
    client: &UpstreamClient,
    upstream: &Arc<Upstream>,
    path: &str,
    limit: Duration,
) -> UpstreamHealth {
    let started = Instant::now();
    let read = async |response: reqwest::Response| anyhow::Ok(response.status());
    let answer = timeout(limit, ask::ask(client, upstream, path, read)).await;
    let (status, error) = match answer {
        Ok(Ok(status)) => (Some(status), None),
        Ok(Err(error)) => (None, Some(format!("{error:#}"))),
        Err(_) => (None, Some("timed out".to_owned())),
    };
    UpstreamHealth {
        name: Arc::clone(&upstream.config.name),
        is_up: status.is_some_and(|status| !status.is_server_error()),
        status: status.map(|status| status.as_u16()),
        duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        error,
    }
}

/// Whether a request asks for it: by its query, without question mark.
pub(crate) fn is_asked(query: &str) -> bool {
    query.split('&').any(|part| part == "deep=1")
}

/// Whether a client may know: by its network, or the token that it sends.
pub(crate) fn is_permitted(
    settings: &model::Health,
    client: IpAddr,
    headers: &dyn Headers,
) -> bool {
    let mut networks = settings.allowed_networks.iter();
    if networks.any(|network| network.contains(&client)) {
        return true;
    }
    let Some(token) = &settings.token else {
        return false;
    };
    let sent = headers.first(&header::AUTHORIZATION);
    let sent = sent.and_then(|sent| sent.split_at_checked(SCHEME.len()));
    // In constant time: how much of a guess is right must not be measurable.
    sent.is_some_and(|(scheme, sent)| {
        scheme.eq_ignore_ascii_case(SCHEME)
            && bool::from(sent.ct_eq(token.expose_secret().as_bytes()))
    })
}
