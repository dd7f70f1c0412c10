//! Fetches the documents of the services and merges them.
//!
//! Services are deployed on their own, so their documents are fetched from them, cached for a short
//! time, and kept while a service is unavailable.
//!
//! Clients wait only while no document is known: an old one is served, and renewed behind. There is
//! one round of fetching at a time, whatever the number of clients, and a pause between rounds in
//! which a service was missing. Otherwise clients would queue for a service that is down, each for
//! the whole time-out.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, header};
use quartet_common::{openapi::to_3_0, problem::Problem};
use serde_json::Value;
use tokio::sync::Mutex;

use super::gateway_document::merge_with_gateway;
use crate::{
    error,
    pages::ask::ask,
    reply::Reply,
    response_body::read_body,
    snapshot::Snapshot,
    upstream::{Upstream, client::UpstreamClient},
};

/// How the path of the 3.0 version ends.
const SUFFIX_3_0: &str = "-3.0.json";
const MAX_DOCUMENT_BYTES: usize = 4 * 1024 * 1024;
/// Between rounds in which a document was missing.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The last known document of every service, and the merged one.
#[derive(Debug)]
pub(crate) struct Documents(Arc<Inner>);

pub(crate) type Known = BTreeMap<Arc<str>, Arc<Value>>;

#[derive(Debug)]
struct Inner {
    client: UpstreamClient,
    /// Held by the round that is under way: the last known document of each service.
    by_service: Mutex<Known>,
    last: RwLock<Option<FetchRound>>,
}

/// What the last round of fetching brought.
#[derive(Clone, Debug)]
struct FetchRound {
    ended: Instant,
    /// A service has never returned its document.
    incomplete: bool,
    /// `None`: none has.
    merged: Option<Arc<MergedDocument>>,
}

impl FetchRound {
    fn is_fresh(&self, fresh_for: Duration) -> bool {
        let fresh_for = if self.incomplete {
            fresh_for.min(RETRY_PAUSE)
        } else {
            fresh_for
        };
        self.ended.elapsed() < fresh_for
    }
}

#[derive(Debug)]
struct MergedDocument {
    document: Value,
    text: Bytes,
    /// Built on the first request for it.
    text_3_0: OnceLock<Bytes>,
}

impl Documents {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            client: UpstreamClient::new(),
            by_service: Mutex::default(),
            last: RwLock::default(),
        }))
    }

    /// The merged document in the version that the path names.
    pub(crate) async fn render(
        &self,
        path: &str,
        snapshot: &Arc<Snapshot>,
    ) -> Result<Reply, Problem> {
        let fresh_for = Duration::from_secs(snapshot.config.model.documents.refresh_seconds);
        let round = self.round(snapshot, fresh_for).await;
        let merged = round.merged.ok_or_else(error::upstream_unreachable)?;
        let text = if path.ends_with(SUFFIX_3_0) {
            merged.text_3_0()
        } else {
            merged.text.clone()
        };
        Ok(reply(text, fresh_for))
    }

    /// The last known document of each service, fetched again if they are older than `fresh_for`.
    pub(crate) async fn by_service(&self, snapshot: &Snapshot, fresh_for: Duration) -> Known {
        let mut known = self.0.by_service.lock().await;
        let mut names = documented(snapshot).map(|upstream| &upstream.config.name);
        // One that a reload has brought is not waited for any longer.
        let fresh_for = if names.all(|name| known.contains_key(name)) {
            fresh_for
        } else {
            fresh_for.min(RETRY_PAUSE)
        };
        let is_fresh = self.0.last().is_some_and(|last| last.is_fresh(fresh_for));
        if !is_fresh {
            self.0.renew(&mut known, snapshot).await;
        }
        known.clone()
    }

    async fn round(&self, snapshot: &Arc<Snapshot>, fresh_for: Duration) -> FetchRound {
        let last = self.0.last();
        match last {
            Some(last) if last.is_fresh(fresh_for) => return last,
            // Without a time of freshness, an old document is never wanted.
            Some(last) if last.merged.is_some() && !fresh_for.is_zero() => {
                let (inner, snapshot) = (Arc::clone(&self.0), Arc::clone(snapshot));
                tokio::spawn(async move {
                    if let Ok(mut known) = inner.by_service.try_lock() {
                        inner.renew(&mut known, &snapshot).await;
                    }
                });
                return last;
            }
            _ => {}
        }
        let asked = Instant::now();
        let mut known = self.0.by_service.lock().await;
        match self.0.last() {
            // Another client's round ended while this one waited.
            Some(last) if last.ended > asked => last,
            _ => self.0.renew(&mut known, snapshot).await,
        }
    }
}

impl Inner {
    fn last(&self) -> Option<FetchRound> {
        let last = self.last.read().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }

    async fn renew(&self, known: &mut Known, snapshot: &Snapshot) -> FetchRound {
        let timeout = Duration::from_millis(snapshot.config.model.documents.timeout_ms);
        self.refresh(known, snapshot, timeout).await;
        let names = documented(snapshot).map(|upstream| &upstream.config.name);
        let documents: Vec<(&str, &Value)> = names
            .clone()
            .filter_map(|name| Some((&**name, &**known.get(name)?)))
            .collect();
        let round = FetchRound {
            ended: Instant::now(),
            incomplete: documents.len() < names.count(),
            merged: (!documents.is_empty())
                .then(|| Arc::new(MergedDocument::new(merge_with_gateway(&documents)))),
        };
        let mut last = self.last.write().unwrap_or_else(PoisonError::into_inner);
        *last = Some(round.clone());
        round
    }

    async fn refresh(&self, known: &mut Known, snapshot: &Snapshot, timeout: Duration) {
        let mut running = tokio::task::JoinSet::new();
        for upstream in documented(snapshot) {
            if let Some(document) = &upstream.config.document {
                known.insert(Arc::clone(&upstream.config.name), Arc::clone(document));
                continue;
            }
            let (client, upstream) = (self.client.clone(), Arc::clone(upstream));
            running.spawn(async move {
                let name = Arc::clone(&upstream.config.name);
                (
                    name,
                    tokio::time::timeout(timeout, fetch(&client, &upstream)).await,
                )
            });
        }
        while let Some(finished) = running.join_next().await {
            match finished {
                Ok((name, Ok(Ok(document)))) => {
                    known.insert(name, Arc::new(document));
                }
                Ok((name, Ok(Err(error)))) => {
                    tracing::warn!(target: "quartet", document = &*name,
                        error = format!("{error:#}"), "cannot fetch OpenAPI document");
                }
                Ok((name, Err(_))) => {
                    tracing::warn!(target: "quartet", document = &*name,
                        error = "timed out", "cannot fetch OpenAPI document");
                }
                Err(error) => tracing::error!(target: "quartet", %error, "fetch task panicked"),
            }
        }
    }
}

impl MergedDocument {
    fn new(document: Value) -> Self {
        Self {
            text: document.to_string().into(),
            text_3_0: OnceLock::new(),
            document,
        }
    }

    fn text_3_0(&self) -> Bytes {
        let build = || to_3_0(&self.document).to_string().into();
        self.text_3_0.get_or_init(build).clone()
    }
}

fn documented(snapshot: &Snapshot) -> impl Iterator<Item = &Arc<Upstream>> + Clone {
    snapshot
        .upstreams
        .iter()
        .filter(|upstream| upstream.config.openapi.is_some() || upstream.config.document.is_some())
}

async fn fetch(client: &UpstreamClient, upstream: &Arc<Upstream>) -> anyhow::Result<Value> {
    let path = upstream.config.openapi.as_deref().unwrap_or_default();
    ask(client, upstream, path, read).await
}

async fn read(response: reqwest::Response) -> anyhow::Result<Value> {
    let body = read_body(response.error_for_status()?, MAX_DOCUMENT_BYTES).await?;
    Ok(serde_json::from_slice(&body)?)
}

fn reply(document: Bytes, fresh_for: Duration) -> Reply {
    let cache = format!("public, max-age={}", fresh_for.as_secs());
    let cache = HeaderValue::from_str(&cache).expect("digits are ASCII");
    Reply::ok(HeaderValue::from_static("application/json"), document)
        .header(header::CACHE_CONTROL, cache)
}
