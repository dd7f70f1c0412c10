//! The merged OpenAPI document, made from the services' own, and its copy in 3.0.
//!
//! Services are deployed alone, so their documents are fetched from them, remembered
//! for a short while, and kept when a service does not answer.

mod door;
mod merge;
mod own;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, header};
use quartet_common::problem::Problem;
use quartet_openapi::to_3_0;
use serde_json::Value;
use tokio::sync::Mutex;

use super::Page;
use crate::{error, state::Snapshot, upstream::Upstream};
pub(crate) use own::merge_with_own;

/// How the path of the copy ends.
const COPY_IN_3_0: &str = "-3.0.json";
const LARGEST_DOCUMENT_BYTES: usize = 4 * 1024 * 1024;

/// The last document of every service, and what they make together.
#[derive(Debug)]
pub(crate) struct Documents {
    client: reqwest::Client,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_service: BTreeMap<Arc<str>, Arc<Value>>,
    merged: Option<(Instant, Merged)>,
}

#[derive(Clone, Debug)]
struct Merged {
    document: Bytes,
    copy_in_3_0: Bytes,
}

impl Documents {
    pub(crate) fn new() -> Self {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .expect("a client without special settings can be built");
        Self {
            client,
            known: Mutex::default(),
        }
    }

    /// The document, or its copy in 3.0 where the path asks for that.
    pub(super) async fn page(&self, path: &str, snapshot: &Snapshot) -> Result<Page, Problem> {
        let fresh_for = Duration::from_secs(snapshot.config.model.documents.refresh_seconds);
        let merged = self.merged(snapshot, fresh_for).await?;
        let wanted = if path.ends_with(COPY_IN_3_0) {
            merged.copy_in_3_0
        } else {
            merged.document
        };
        Ok(page(wanted, fresh_for))
    }

    async fn merged(&self, snapshot: &Snapshot, fresh_for: Duration) -> Result<Merged, Problem> {
        let settings = &snapshot.config.model.documents;
        // One request renews the document; the others wait for it.
        let mut known = self.known.lock().await;
        if let Some((made, merged)) = &known.merged
            && made.elapsed() < fresh_for
        {
            return Ok(merged.clone());
        }
        let timeout = Duration::from_millis(settings.timeout_ms);
        self.refresh(&mut known, snapshot, timeout).await;
        let wanted: Vec<&Arc<Upstream>> = documented(snapshot).collect();
        let (parts, missing): (Vec<_>, Vec<_>) = wanted
            .iter()
            .map(|upstream| &upstream.config.name)
            .partition(|name| known.by_service.contains_key(*name));
        if parts.is_empty() {
            return Err(error::unreachable());
        }
        let parts: Vec<(&str, &Value)> = parts
            .into_iter()
            .map(|name| (&**name, &*known.by_service[name]))
            .collect();
        let merged = Merged::new(&merge_with_own(&parts));
        // While a service is missing it is asked for again at every request.
        known.merged = missing.is_empty().then(|| (Instant::now(), merged.clone()));
        Ok(merged)
    }

    async fn refresh(&self, known: &mut Known, snapshot: &Snapshot, timeout: Duration) {
        let mut running = tokio::task::JoinSet::new();
        for upstream in documented(snapshot) {
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
                    known.by_service.insert(name, Arc::new(document));
                }
                Ok((name, Ok(Err(error)))) => {
                    tracing::warn!(target: "quartet", service = &*name,
                        error = format!("{error:#}"), "no OpenAPI document");
                }
                Ok((name, Err(_))) => {
                    tracing::warn!(target: "quartet", service = &*name,
                        error = "took too long", "no OpenAPI document");
                }
                Err(error) => tracing::error!(target: "quartet", %error, "a fetch broke"),
            }
        }
    }
}

impl Merged {
    fn new(document: &Value) -> Self {
        Self {
            document: document.to_string().into(),
            copy_in_3_0: to_3_0(document).to_string().into(),
        }
    }
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
    let mut last = anyhow::anyhow!("no address is known");
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
            body.len() <= LARGEST_DOCUMENT_BYTES,
            "the document is too large"
        );
    }
    Ok(serde_json::from_slice(&body)?)
}

fn page(document: Bytes, fresh_for: Duration) -> Page {
    let cache = format!("public, max-age={}", fresh_for.as_secs());
    let cache = HeaderValue::from_str(&cache).expect("digits are plain ASCII");
    Page::ok(HeaderValue::from_static("application/json"), document)
        .with(header::CACHE_CONTROL, cache)
}
