//! Fetches the documents of the services and merges them.
//!
//! Services are deployed on their own, so their documents are fetched from them, cached for a short
//! time, and kept while a service is unavailable.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, OnceLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, header};
use quartet_common::{openapi::to_3_0, problem::Problem};
use serde_json::Value;
use tokio::sync::Mutex;

use super::gateway_document::merge_with_gateway;
use crate::{error, reply::Reply, snapshot::Snapshot, upstream::Upstream};

/// How the path of the 3.0 version ends.
const SUFFIX_3_0: &str = "-3.0.json";
const MAX_DOCUMENT_BYTES: usize = 4 * 1024 * 1024;

/// The last known document of every service, and the merged one.
#[derive(Debug)]
pub(crate) struct Documents {
    /// Made for the first document: it holds the certificates of the platform.
    client: LazyLock<reqwest::Client>,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    by_service: BTreeMap<Arc<str>, Arc<Value>>,
    merged: Option<(Instant, Arc<Merged>)>,
}

#[derive(Debug)]
struct Merged {
    document: Value,
    text: Bytes,
    /// Built on the first request for it.
    text_3_0: OnceLock<Bytes>,
}

impl Documents {
    pub(crate) fn new() -> Self {
        Self {
            client: LazyLock::new(client),
            cache: Mutex::default(),
        }
    }

    /// The merged document in the version that the path names.
    pub(crate) async fn render(&self, path: &str, snapshot: &Snapshot) -> Result<Reply, Problem> {
        let fresh_for = Duration::from_secs(snapshot.config.model.documents.refresh_seconds);
        let merged = self.merged(snapshot, fresh_for).await?;
        let text = if path.ends_with(SUFFIX_3_0) {
            merged.text_3_0()
        } else {
            merged.text.clone()
        };
        Ok(reply(text, fresh_for))
    }

    async fn merged(
        &self,
        snapshot: &Snapshot,
        fresh_for: Duration,
    ) -> Result<Arc<Merged>, Problem> {
        let settings = &snapshot.config.model.documents;
        // One request refreshes the cache; the others wait for it.
        let mut cache = self.cache.lock().await;
        if let Some((merged_at, merged)) = &cache.merged
            && merged_at.elapsed() < fresh_for
        {
            return Ok(Arc::clone(merged));
        }
        let timeout = Duration::from_millis(settings.timeout_ms);
        self.refresh(&mut cache, snapshot, timeout).await;
        let (present, missing): (Vec<_>, Vec<_>) = documented(snapshot)
            .map(|upstream| &upstream.config.name)
            .partition(|name| cache.by_service.contains_key(*name));
        if present.is_empty() {
            return Err(error::upstream_unreachable());
        }
        let documents: Vec<(&str, &Value)> = present
            .into_iter()
            .map(|name| (&**name, &*cache.by_service[name]))
            .collect();
        let merged = Arc::new(Merged::new(merge_with_gateway(&documents)));
        // While a service is missing, every request tries to fetch its document.
        cache.merged = missing
            .is_empty()
            .then(|| (Instant::now(), Arc::clone(&merged)));
        Ok(merged)
    }

    async fn refresh(&self, cache: &mut Cache, snapshot: &Snapshot, timeout: Duration) {
        let mut running = tokio::task::JoinSet::new();
        for upstream in documented(snapshot) {
            let (client, upstream) = (LazyLock::force(&self.client).clone(), Arc::clone(upstream));
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
                    cache.by_service.insert(name, Arc::new(document));
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

impl Merged {
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

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .expect("a client with default TLS settings can be built")
}

fn documented(snapshot: &Snapshot) -> impl Iterator<Item = &Arc<Upstream>> {
    snapshot
        .upstreams
        .iter()
        .filter(|upstream| upstream.config.openapi.is_some())
}

async fn fetch(client: &reqwest::Client, upstream: &Upstream) -> anyhow::Result<Value> {
    let path = upstream.config.openapi.as_deref().unwrap_or_default();
    let mut tried = Vec::new();
    let mut last = anyhow::anyhow!("no known address");
    while let Some(replica) = upstream.pick(&tried, Instant::now()) {
        tried.push(replica.address);
        match fetch_from(client, &format!("http://{}{path}", replica.address)).await {
            Ok(document) => return Ok(document),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn fetch_from(client: &reqwest::Client, url: &str) -> anyhow::Result<Value> {
    let mut response = client.get(url).send().await?.error_for_status()?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        anyhow::ensure!(
            body.len() <= MAX_DOCUMENT_BYTES,
            "document larger than {MAX_DOCUMENT_BYTES} bytes"
        );
    }
    Ok(serde_json::from_slice(&body)?)
}

fn reply(document: Bytes, fresh_for: Duration) -> Reply {
    let cache = format!("public, max-age={}", fresh_for.as_secs());
    let cache = HeaderValue::from_str(&cache).expect("digits are ASCII");
    Reply::ok(HeaderValue::from_static("application/json"), document)
        .header(header::CACHE_CONTROL, cache)
}
