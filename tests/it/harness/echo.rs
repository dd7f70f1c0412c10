//! An upstream that records requests.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::{Json, Router};
use http::{HeaderMap, Method, Uri};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A request as received behind the gateway.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedRequest {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

type Log = Arc<Mutex<Vec<ReceivedRequest>>>;

/// Responds to every request with 200 and a description of the request.
#[derive(Debug)]
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    log: Log,
    task: JoinHandle<()>,
}

impl Echo {
    pub(crate) async fn start() -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into()).await
    }

    /// The same at a given address.
    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Log::default();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&log));
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        Self { address, log, task }
    }

    /// The requests so far.
    pub(crate) fn received(&self) -> Vec<ReceivedRequest> {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Gateway settings that route `/echo/*` here, with public, optional and required auth.
    pub(crate) fn settings(&self) -> String {
        Self::settings_for(&self.address.to_string())
    }

    /// The same for an upstream at another address.
    pub(crate) fn settings_for(address: &str) -> String {
        let route = |name: &str, auth: &str| {
            format!(
                "[routes.echo_{name}]\npaths = [\"/echo/{name}/*\"]\nupstream = \"echo\"\nauth = \"{auth}\"\n"
            )
        };
        format!(
            "[upstreams.echo]\naddresses = [\"{address}\"]\n{}{}{}",
            route("public", "public"),
            route("optional", "optional"),
            route("required", "required"),
        )
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    State(log): State<Log>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    // Read completely, so that the connection can be reused.
    _body: axum::body::Bytes,
) -> impl IntoResponse {
    let path = uri.to_string();
    let described: Vec<Value> = headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let pause = headers
        .get("x-pause-ms")
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_millis);
    let answer = json!({ "method": method.as_str(), "path": path, "headers": described });
    log.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(ReceivedRequest { path, headers });
    if let Some(pause) = pause {
        // A slow upstream. No test waits this long itself.
        tokio::time::sleep(pause).await;
    }
    Json(answer)
}
