//! A stand-in for the API server of a Kubernetes cluster: it keeps objects, lists them in pages, streams their
//! changes with bookmarks, and takes statuses. It knows no schema, and checks nothing but versions.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Path, Query, Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse as _, Response},
    routing::{get, patch},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_util::stream;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Certificates, serve, serve_with_tls};

const TOKEN: &str = "a-token";

/// Of an object: the name of its kind in URLs, its namespace, its name.
type Key = (String, String, String);

#[derive(Clone)]
pub(crate) struct ApiServer {
    url: String,
    /// In PEM, of a server with TLS.
    authority: Option<String>,
    shared: Arc<Shared>,
}

struct Shared {
    kept: Mutex<Storage>,
    /// The version of the last change, and how often all streams were cut.
    progress: watch::Sender<(u64, u64)>,
}

#[derive(Default)]
struct Storage {
    version: u64,
    objects: BTreeMap<Key, Value>,
    /// With the version and the name of the kind.
    events: Vec<(u64, String, Value)>,
    /// Versions before this one are gone.
    oldest: u64,
    cuts: u64,
    /// Answers of kinds that are not served, by name; `*`: of all.
    refused: BTreeMap<String, u16>,
    lists: BTreeMap<String, usize>,
    status_writes: usize,
}

/// What requests ask for.
type Parameters = BTreeMap<String, String>;

impl ApiServer {
    pub(crate) async fn start() -> Self {
        let (shared, router) = Self::prepare();
        Self {
            url: format!("http://{}", serve(router).await),
            authority: None,
            shared,
        }
    }

    /// With a certificate of this authority.
    pub(crate) async fn start_with_tls(certificates: &Certificates) -> Self {
        let (shared, router) = Self::prepare();
        let identity = certificates.issue(&["127.0.0.1"]);
        let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.unwrap()], key)
            .unwrap();
        Self {
            url: format!("https://{}", serve_with_tls(config, router).await),
            authority: Some(certificates.authority.certificate().to_owned()),
            shared,
        }
    }

    fn prepare() -> (Arc<Shared>, Router) {
        let shared = Arc::new(Shared {
            kept: Mutex::default(),
            progress: watch::Sender::new((0, 0)),
        });
        let router = Router::new()
            .route("/api/v1/{plural}", get(read_all))
            .route(
                "/api/v1/namespaces/{namespace}/{plural}",
                get(read_core_namespace),
            )
            .route("/apis/{group}/{version}/{plural}", get(read_group))
            .route(
                "/apis/{group}/{version}/namespaces/{namespace}/{plural}",
                get(read_namespace),
            )
            .route(
                "/apis/{group}/{version}/{plural}/{name}/status",
                patch(write_cluster_status),
            )
            .route(
                "/apis/{group}/{version}/namespaces/{namespace}/{plural}/{name}/status",
                patch(write_status),
            )
            .with_state(Arc::clone(&shared))
            .layer(axum::middleware::from_fn(authenticate));
        (shared, router)
    }

    /// As a file that names this server.
    pub(crate) fn kubeconfig(&self) -> String {
        let mut cluster = json!({ "server": self.url });
        if let Some(authority) = &self.authority {
            cluster["certificate-authority-data"] = json!(BASE64_STANDARD.encode(authority));
        }
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "c", "cluster": cluster }],
            "users": [{ "name": "u", "user": { "token": TOKEN } }],
            "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
            "current-context": "x",
        })
        .to_string()
    }

    /// Creates an object, or replaces the specification of the one of its name.
    pub(crate) fn put(&self, plural: &str, mut object: Value) {
        let mut kept = self.kept();
        let key = key_of(plural, &object);
        let known = kept.objects.get(&key).cloned();
        let kind = if known.is_some() { "MODIFIED" } else { "ADDED" };
        let mut generation = 1;
        if let Some(known) = &known {
            let before = known["metadata"]["generation"].as_i64().unwrap();
            generation = before + i64::from(known["spec"] != object["spec"]);
            object["status"] = known["status"].clone();
        }
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.insert("generation".to_owned(), json!(generation));
        metadata
            .entry("creationTimestamp")
            .or_insert(json!("2026-01-01T00:00:00Z"));
        kept.change(kind, key, object);
        self.notify(&kept);
    }

    pub(crate) fn delete(&self, plural: &str, namespace: &str, name: &str) {
        let mut kept = self.kept();
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        let object = kept.objects.get(&key).cloned().unwrap();
        kept.change("DELETED", key.clone(), object);
        kept.objects.remove(&key);
        self.notify(&kept);
    }

    pub(crate) fn get(&self, plural: &str, namespace: &str, name: &str) -> Value {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        self.kept().objects.get(&key).cloned().unwrap_or_default()
    }

    /// Ends every stream, as a server does that restarts.
    pub(crate) fn cut(&self) {
        let mut kept = self.kept();
        kept.cuts += 1;
        self.notify(&kept);
    }

    /// Forgets all changes so far: who asks for them learns that they are gone.
    pub(crate) fn compact(&self) {
        let mut kept = self.kept();
        kept.events.clear();
        kept.version += 1;
        kept.oldest = kept.version;
    }

    /// Answers every request for a kind with this status; `*`: for all.
    pub(crate) fn refuse(&self, plural: &str, status: u16) {
        self.kept().refused.insert(plural.to_owned(), status);
    }

    pub(crate) fn accept(&self, plural: &str) {
        self.kept().refused.remove(plural);
    }

    /// How often the objects of a kind were listed.
    pub(crate) fn lists(&self, plural: &str) -> usize {
        self.kept().lists.get(plural).copied().unwrap_or(0)
    }

    pub(crate) fn status_writes(&self) -> usize {
        self.kept().status_writes
    }

    fn kept(&self) -> MutexGuard<'_, Storage> {
        self.shared.kept.lock().unwrap()
    }

    fn notify(&self, kept: &Storage) {
        self.shared.progress.send_replace((kept.version, kept.cuts));
    }
}

impl Storage {
    fn change(&mut self, kind: &str, key: Key, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let event = json!({ "type": kind, "object": object });
        self.events.push((self.version, key.0.clone(), event));
        self.objects.insert(key, object);
    }

    fn refusal(&self, plural: &str) -> Option<Response> {
        let status = self.refused.get(plural).or(self.refused.get("*"))?;
        let status = StatusCode::from_u16(*status).unwrap();
        if status == StatusCode::NOT_FOUND {
            return Some((status, "404 page not found\n").into_response());
        }
        Some((status, Json(failure(status.as_u16(), "refused"))).into_response())
    }

    fn list(&mut self, plural: &str, namespace: &str, parameters: &Parameters) -> Response {
        let from: usize = parameters
            .get("continue")
            .map_or(0, |at| at.parse().unwrap());
        if from == 0 {
            *self.lists.entry(plural.to_owned()).or_default() += 1;
        }
        let limit = parameters
            .get("limit")
            .map_or(usize::MAX, |it| it.parse().unwrap());
        let selected = self
            .objects
            .iter()
            .filter(|(key, object)| key.0 == plural && is_asked(object, namespace, parameters));
        let all: Vec<Value> = selected.map(|(_, object)| object.clone()).collect();
        let next = from.saturating_add(limit);
        let rest = if next < all.len() {
            next.to_string()
        } else {
            String::new()
        };
        let page: Vec<Value> = all.into_iter().skip(from).take(limit).collect();
        Json(json!({
            "kind": "List",
            "apiVersion": "v1",
            "metadata": { "resourceVersion": self.version.to_string(), "continue": rest },
            "items": page,
        }))
        .into_response()
    }
}

fn failure(code: u16, reason: &str) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": format!("the stand-in says {reason}"),
        "reason": reason,
        "code": code,
    })
}

fn key_of(plural: &str, object: &Value) -> Key {
    let metadata = &object["metadata"];
    let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
    (plural.to_owned(), text("namespace"), text("name"))
}

fn is_asked(object: &Value, namespace: &str, parameters: &Parameters) -> bool {
    let own = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let selector = parameters.get("fieldSelector");
    let kind = selector.and_then(|selector| selector.strip_prefix("type="));
    (namespace.is_empty() || namespace == own) && kind.is_none_or(|kind| object["type"] == *kind)
}

/// Only who has the token of the kubeconfig gets an answer.
async fn authenticate(request: Request, next: Next) -> Response {
    let sent = request.headers().get("authorization");
    if sent.is_some_and(|sent| sent == &format!("Bearer {TOKEN}")) {
        return next.run(request).await;
    }
    let answer = Json(failure(401, "Unauthorized"));
    (StatusCode::UNAUTHORIZED, answer).into_response()
}

async fn read_all(
    State(shared): State<Arc<Shared>>,
    Path(plural): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Response {
    read(shared, plural, String::new(), parameters)
}

async fn read_core_namespace(
    State(shared): State<Arc<Shared>>,
    Path((namespace, plural)): Path<(String, String)>,
    Query(parameters): Query<Parameters>,
) -> Response {
    read(shared, plural, namespace, parameters)
}

async fn read_group(
    State(shared): State<Arc<Shared>>,
    Path((_, _, plural)): Path<(String, String, String)>,
    Query(parameters): Query<Parameters>,
) -> Response {
    read(shared, plural, String::new(), parameters)
}

async fn read_namespace(
    State(shared): State<Arc<Shared>>,
    Path((_, _, namespace, plural)): Path<(String, String, String, String)>,
    Query(parameters): Query<Parameters>,
) -> Response {
    read(shared, plural, namespace, parameters)
}

fn read(
    shared: Arc<Shared>,
    plural: String,
    namespace: String,
    parameters: Parameters,
) -> Response {
    let mut kept = shared.kept.lock().unwrap();
    if let Some(refusal) = kept.refusal(&plural) {
        return refusal;
    }
    if !parameters.contains_key("watch") {
        return kept.list(&plural, &namespace, &parameters);
    }
    let since: u64 = parameters["resourceVersion"].parse().unwrap();
    let is_gone = since < kept.oldest;
    let cuts = kept.cuts;
    drop(kept);
    if is_gone {
        let event = json!({ "type": "ERROR", "object": failure(410, "Expired") });
        return Body::from(format!("{event}\n")).into_response();
    }
    let state = Streamed {
        progress: shared.progress.subscribe(),
        shared,
        plural,
        namespace,
        parameters,
        since,
        cuts,
        had_bookmark: false,
    };
    let events = stream::unfold(state, |mut state| async move {
        let lines = state.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(lines)), state))
    });
    Body::from_stream(events).into_response()
}

/// A watch.
struct Streamed {
    shared: Arc<Shared>,
    progress: watch::Receiver<(u64, u64)>,
    plural: String,
    namespace: String,
    parameters: Parameters,
    since: u64,
    cuts: u64,
    had_bookmark: bool,
}

impl Streamed {
    /// The next lines. `None`: the stream ends.
    async fn next(&mut self) -> Option<String> {
        loop {
            if self.progress.borrow_and_update().1 != self.cuts {
                return None;
            }
            if let Some(lines) = self.lines() {
                return Some(lines);
            }
            self.progress.changed().await.ok()?;
        }
    }

    fn lines(&mut self) -> Option<String> {
        let kept = self.shared.kept.lock().unwrap();
        let new = kept.events.iter().filter(|(version, plural, event)| {
            *version > self.since
                && *plural == self.plural
                && is_asked(&event["object"], &self.namespace, &self.parameters)
        });
        let mut lines = new.fold(String::new(), |mut lines, (_, _, event)| {
            lines.push_str(&event.to_string());
            lines.push('\n');
            lines
        });
        self.since = self.since.max(kept.version);
        if lines.is_empty() && !self.had_bookmark {
            self.had_bookmark = true;
            let version = self.since.to_string();
            let object = json!({
                "kind": "Bookmark",
                "apiVersion": "v1",
                "metadata": { "resourceVersion": version },
            });
            let bookmark = json!({ "type": "BOOKMARK", "object": object });
            lines = format!("{bookmark}\n");
        }
        (!lines.is_empty()).then_some(lines)
    }
}

async fn write_cluster_status(
    State(shared): State<Arc<Shared>>,
    Path((_, _, plural, name)): Path<(String, String, String, String)>,
    Json(patch): Json<Value>,
) -> Response {
    write(&shared, (plural, String::new(), name), &patch)
}

async fn write_status(
    State(shared): State<Arc<Shared>>,
    Path((_, _, namespace, plural, name)): Path<(String, String, String, String, String)>,
    Json(patch): Json<Value>,
) -> Response {
    write(&shared, (plural, namespace, name), &patch)
}

fn write(shared: &Shared, key: Key, patch: &Value) -> Response {
    let mut kept = shared.kept.lock().unwrap();
    if let Some(refusal) = kept.refusal(&format!("{}/status", key.0)) {
        return refusal;
    }
    let Some(mut object) = kept.objects.get(&key).cloned() else {
        return (StatusCode::NOT_FOUND, Json(failure(404, "NotFound"))).into_response();
    };
    if patch["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
        return (StatusCode::CONFLICT, Json(failure(409, "Conflict"))).into_response();
    }
    let fields: BTreeSet<&String> = patch.as_object().unwrap().keys().collect();
    assert!(
        fields.len() == 2,
        "a status changes nothing else: {fields:?}"
    );
    kept.status_writes += 1;
    object["status"] = patch["status"].clone();
    kept.change("MODIFIED", key.clone(), object);
    let object = kept.objects[&key].clone();
    shared.progress.send_replace((kept.version, kept.cuts));
    Json(object).into_response()
}
