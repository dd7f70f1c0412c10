//! Objects of a cluster, from a stand-in for its API server, served by the gateway.
//!
//! Tests whose names begin with a name of the conformance tests of the Gateway API have their cases, with objects and
//! requests in the forms of this crate.

mod conditions;
mod filters;
mod hosts;
mod matching;
mod references;
mod watching;

use std::net::SocketAddr;

use axum::{
    Json, Router,
    body::to_bytes,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method},
    response::IntoResponse as _,
    routing::any,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{ApiServer, Gateway, client, eventually, serve};

/// The namespace of most objects.
const INFRA: &str = "infra";
const CONTROLLER: &str = "quartet.dev/gateway";

/// A cluster with three backends, a class and a Gateway `same-namespace`, and a gateway that serves it.
struct Cluster {
    api: ApiServer,
    gateway: Gateway,
    files: TempDir,
}

impl Cluster {
    async fn start() -> Self {
        Self::with("auth = \"public\"\n", |_| {}).await
    }

    /// With these lines in `[kubernetes]`, and objects that are there from the beginning.
    async fn with(lines: &str, prepare: impl FnOnce(&ApiServer)) -> Self {
        let api = ApiServer::start().await;
        api.put("gatewayclasses", class("quartet", CONTROLLER));
        for namespace in [INFRA, "web"] {
            let labels = json!({ "kubernetes.io/metadata.name": namespace });
            let metadata = json!({ "name": namespace, "labels": labels });
            api.put("namespaces", json!({ "metadata": metadata }));
        }
        for name in ["infra-backend-v1", "infra-backend-v2", "infra-backend-v3"] {
            add_backend(&api, INFRA, name).await;
        }
        let listener = json!({ "name": "http", "port": 80, "protocol": "HTTP" });
        api.put("gateways", gateway("same-namespace", json!([listener])));
        prepare(&api);
        let files = tempfile::tempdir().unwrap();
        let settings = settings(&api, &files, lines);
        let gateway = Gateway::start(&settings).await;
        let cluster = Self {
            api,
            gateway,
            files,
        };
        cluster.is_ready().await;
        cluster
    }

    async fn is_ready(&self) {
        eventually("the objects are read", || async {
            let ready = self.gateway.admin("/ready").await;
            ready.status().is_success().then_some(())
        })
        .await;
    }

    /// Adds a route to the Gateway `same-namespace`, and waits until it is in force.
    async fn route(&self, name: &str, spec: Value) {
        let mut spec = spec;
        if spec["parentRefs"].is_null() {
            spec["parentRefs"] = json!([{ "name": "same-namespace" }]);
        }
        self.api.put("httproutes", route(name, spec));
        self.has_status("httproutes", INFRA, name).await;
    }

    /// Waits until the status of an object is about its last specification.
    async fn has_status(&self, plural: &str, namespace: &str, name: &str) {
        let what = format!("{plural} {name} has a status");
        eventually(&what, || async {
            let object = self.api.get(plural, namespace, name);
            let generation = &object["metadata"]["generation"];
            let conditions = match plural {
                "httproutes" => &object["status"]["parents"][0]["conditions"],
                _ => &object["status"]["conditions"],
            };
            let conditions = conditions.as_array()?;
            let is_current = |it: &Value| it["observedGeneration"] == *generation;
            (!conditions.is_empty() && conditions.iter().all(is_current)).then_some(())
        })
        .await;
    }

    /// Waits for a condition of the first parent of a route.
    async fn route_has(&self, name: &str, condition: &str, status: &str, reason: &str) {
        let what = format!("{name} has {condition} {status} {reason}");
        eventually(&what, || async {
            let object = self.api.get("httproutes", INFRA, name);
            let parent = &object["status"]["parents"][0];
            has(&parent["conditions"], condition, status, reason).then_some(())
        })
        .await;
    }

    /// Waits for a condition of a listener, or of the Gateway itself (empty).
    async fn gateway_has(
        &self,
        (name, listener): (&str, &str),
        condition: &str,
        status: &str,
        reason: &str,
    ) -> Value {
        let what = format!("{name} {listener} has {condition} {status} {reason}");
        eventually(&what, || async {
            let object = self.api.get("gateways", INFRA, name);
            let status_of = &object["status"];
            let all = status_of["listeners"].as_array().into_iter().flatten();
            let found = all.clone().find(|it| it["name"] == *listener).cloned();
            let found = if listener.is_empty() {
                Some(status_of.clone())
            } else {
                found
            }?;
            has(&found["conditions"], condition, status, reason).then_some(found)
        })
        .await
    }

    /// Waits until a listener has this number of routes.
    async fn has_attached(&self, (name, listener): (&str, &str), count: usize) {
        eventually(&format!("{name} {listener} has {count} routes"), || async {
            let object = self.api.get("gateways", INFRA, name);
            let mut all = object["status"]["listeners"].as_array()?.iter();
            let found = all.find(|it| it["name"] == *listener)?;
            (found["attachedRoutes"] == count).then_some(())
        })
        .await;
    }

    /// Sends each request until the expected backend answers, or the status does. As in the conformance tests, objects
    /// that a route refers to may be read later than the route.
    async fn expect(&self, cases: &[Case<'_>]) {
        for case in cases {
            let what = format!("{case:?}");
            eventually(&what, || async {
                (self.answer(case).await == case.expected).then_some(())
            })
            .await;
        }
    }

    /// The name of the backend, or the status.
    async fn answer(&self, case: &Case<'_>) -> String {
        let response = self.send(case).await;
        let status = response.status();
        if !status.is_success() {
            return status.as_u16().to_string();
        }
        let echoed: Value = response.json().await.unwrap();
        echoed["backend"].as_str().unwrap().to_owned()
    }

    async fn send(&self, case: &Case<'_>) -> reqwest::Response {
        let method = Method::from_bytes(case.method.as_bytes()).unwrap();
        let mut request = client().request(method, self.gateway.url(case.path));
        if !case.host.is_empty() {
            request = request.header("host", case.host);
        }
        for (name, value) in case.headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    /// What the backend has received.
    async fn echoed(&self, case: &Case<'_>) -> Value {
        let response = self.send(case).await;
        assert_eq!(response.status(), 200, "{case:?}");
        response.json().await.unwrap()
    }
}

/// A request, and who answers it.
#[derive(Debug)]
struct Case<'c> {
    method: &'c str,
    host: &'c str,
    path: &'c str,
    headers: &'c [(&'c str, &'c str)],
    expected: &'c str,
}

/// GET of a path.
fn get<'c>(path: &'c str, expected: &'c str) -> Case<'c> {
    Case {
        method: "GET",
        host: "",
        path,
        headers: &[],
        expected,
    }
}

impl<'c> Case<'c> {
    fn method(self, method: &'c str) -> Self {
        Self { method, ..self }
    }

    fn host(self, host: &'c str) -> Self {
        Self { host, ..self }
    }

    fn headers(self, headers: &'c [(&'c str, &'c str)]) -> Self {
        Self { headers, ..self }
    }
}

fn settings(api: &ApiServer, files: &TempDir, lines: &str) -> String {
    let file = files.path().join("kubeconfig");
    std::fs::write(&file, api.kubeconfig()).unwrap();
    format!(
        "shipped_routes = false\n[kubernetes]\nenabled = true\npause_ms = 10\n\
         addresses = [\"192.0.2.1\"]\nkubeconfig = \"{}\"\n{lines}",
        file.display()
    )
}

fn has(conditions: &Value, kind: &str, status: &str, reason: &str) -> bool {
    let mut all = conditions.as_array().into_iter().flatten();
    all.any(|it| it["type"] == kind && it["status"] == status && it["reason"] == reason)
}

fn class(name: &str, controller: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "controllerName": controller } })
}

/// In the namespace `infra`, of the class `quartet`.
fn gateway(name: &str, listeners: Value) -> Value {
    json!({
        "metadata": { "namespace": INFRA, "name": name },
        "spec": { "gatewayClassName": "quartet", "listeners": listeners },
    })
}

/// In the namespace `infra`.
fn route(name: &str, spec: Value) -> Value {
    json!({ "metadata": { "namespace": INFRA, "name": name }, "spec": spec })
}

/// A rule with these matches that leads to a backend.
fn rule(matches: Value, backend: &str) -> Value {
    json!({ "matches": matches, "backendRefs": [backend_ref(backend)] })
}

fn backend_ref(name: &str) -> Value {
    json!({ "name": name, "port": 8080 })
}

fn prefix(path: &str) -> Value {
    json!({ "path": { "type": "PathPrefix", "value": path } })
}

fn exact(path: &str) -> Value {
    json!({ "path": { "type": "Exact", "value": path } })
}

/// A Service with port 8080, and one replica that says its name.
async fn add_backend(api: &ApiServer, namespace: &str, name: &'static str) {
    let address = serve(backend(name)).await;
    api.put("services", service(namespace, name));
    api.put("endpointslices", slice(namespace, name, &[address]));
}

fn service(namespace: &str, name: &str) -> Value {
    json!({
        "metadata": { "namespace": namespace, "name": name },
        "spec": { "ports": [{ "name": "web", "port": 8080, "targetPort": "http" }] },
    })
}

/// Ready endpoints of a Service, all with the port of the first one.
fn slice(namespace: &str, service: &str, addresses: &[SocketAddr]) -> Value {
    let endpoints = addresses
        .iter()
        .map(|address| json!({ "addresses": [address.ip()], "conditions": { "ready": true } }));
    let labels = json!({ "kubernetes.io/service-name": service });
    let name = format!("{service}-1");
    json!({
        "metadata": { "namespace": namespace, "name": name, "labels": labels },
        "addressType": "IPv4",
        "ports": addresses.first().map(|it| json!([{ "name": "web", "port": it.port() }])),
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

/// Answers with what it was asked, after `?delay_ms`, and with the headers that `x-echo-set-header` lists.
fn backend(name: &'static str) -> Router {
    Router::new().fallback(any(move |request: Request| async move {
        let (head, body) = request.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
        let query = head.uri.query().unwrap_or_default();
        if let Some(delay) = query.strip_prefix("delay_ms=") {
            let delay = std::time::Duration::from_millis(delay.parse().unwrap());
            tokio::time::sleep(delay).await;
        }
        let mut set = HeaderMap::new();
        for value in head.headers.get_all("x-echo-set-header") {
            for pair in value.to_str().unwrap().split(',') {
                let (name, value) = pair.split_once(':').unwrap();
                let name = HeaderName::try_from(name).unwrap();
                set.append(name, HeaderValue::try_from(value).unwrap());
            }
        }
        let headers = head.headers.iter();
        let headers = headers.map(|(name, value)| json!([name.as_str(), value.to_str().unwrap()]));
        let echoed = json!({
            "backend": name,
            "path": head.uri.to_string(),
            "headers": headers.collect::<Vec<_>>(),
            "body_bytes": body.len(),
        });
        (set, Json(echoed)).into_response()
    }))
}

/// All values of a header that the backend has received, with commas between them.
fn received(echoed: &Value, name: &str) -> String {
    let pairs = echoed["headers"].as_array().unwrap().iter();
    let values = pairs.filter(|pair| pair[0] == name);
    let values: Vec<&str> = values.map(|pair| pair[1].as_str().unwrap()).collect();
    values.join(",")
}
