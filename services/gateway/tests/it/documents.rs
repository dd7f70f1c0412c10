//! The merged document and the API documentation.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::Request,
    http::StatusCode,
    middleware::{Next, from_fn},
    response::IntoResponse as _,
    routing::get,
};
use futures_util::future::join_all;
use quartet_testing::{assert_complete, contract::Contract};
use serde_json::{Value, json};

use crate::support::{Gateway, eventually, free_address, problem, serve};

fn document(service: &str) -> Router {
    let path = format!("/v1/{service}/things");
    let document = json!({
        "openapi": "3.1.0",
        "info": { "title": service, "version": "1" },
        "paths": { path: { "get": { "operationId": format!("list_{service}"), "responses": {
            "default": { "content": { "application/problem+json": { "schema": {
                "$ref": "#/components/schemas/Problem" } } } } } } } },
        "components": { "schemas": { "Problem": { "type": "object" } } },
    });
    let own = format!("/v1/{service}/openapi.json");
    Router::new().route(&own, get(move || async move { Json(document) }))
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_available_services_are_merged() {
    let core = serve(document("core")).await;
    let mut media = crate::support::free_address();
    let variables = |media: std::net::SocketAddr| {
        [
            ("QUARTET_UPSTREAMS_CORE_ADDRESSES", core.to_string()),
            ("QUARTET_UPSTREAMS_MEDIA_ADDRESSES", media.to_string()),
            (
                "QUARTET_UPSTREAMS_LINKS_ADDRESSES",
                free_address().to_string(),
            ),
            ("QUARTET_DOCUMENTS_REFRESH_SECONDS", "0".to_owned()),
        ]
    };
    let set = variables(media);
    let set: Vec<(&str, &str)> = set
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let gateway = Gateway::with_variables("", &set).await;
    let merged: Value = gateway.get("/openapi.json").await.json().await.unwrap();
    assert_eq!(merged["openapi"], "3.1.0");
    assert!(merged["paths"].get("/v1/core/things").is_some(), "{merged}");
    assert!(
        merged["paths"].get("/v1/media/things").is_none(),
        "{merged}"
    );
    media = crate::support::serve_on(media, document("media")).await;
    assert_ne!(media.port(), 0);
    let merged: Value =
        crate::support::eventually("the other service's document is merged", || async {
            let merged: Value = gateway.get("/openapi.json").await.json().await.unwrap();
            merged["paths"]
                .get("/v1/media/things")
                .is_some()
                .then_some(merged)
        })
        .await;
    let schemas = merged["components"]["schemas"].as_object().unwrap();
    assert!(schemas.contains_key("Problem"), "{schemas:?}");
    assert!(!schemas.contains_key("media_Problem"), "{schemas:?}");
    // The gateway's own operations are included.
    let health = &merged["paths"]["/health"]["get"];
    assert_eq!(health["operationId"], "get_health");
    assert!(health["responses"].get("431").is_some(), "{health}");
}

/// A service that does not answer costs no client the time-out of fetching its document.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_document_is_served_while_it_is_renewed() {
    let core = serve(document("core")).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let fetches = Arc::new(AtomicUsize::new(0));
    let media = silent.local_addr().unwrap();
    let counted = Arc::clone(&fetches);
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            kept.push(stream);
        }
    });
    let settings = format!(
        "shipped_routes = false\n[documents]\nrefresh_seconds = 1\ntimeout_ms = 3000\n\
         [upstreams.core]\naddresses = [\"{core}\"]\nopenapi = \"/v1/core/openapi.json\"\n\
         [upstreams.media]\naddresses = [\"{media}\"]\nopenapi = \"/v1/media/openapi.json\"\n\
         [routes.openapi]\npaths = [\"/openapi.json\"]\nserve = \"openapi\"\nauth = \"public\"\n"
    );
    let gateway = Gateway::start(&settings).await;
    // The first clients share one round.
    let start = Instant::now();
    let first = join_all((0..20).map(|_| gateway.get("/openapi.json"))).await;
    assert!(first.iter().all(|response| response.status() == 200));
    assert!(
        start.elapsed() < Duration::from_secs(6),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(fetches.load(Ordering::Relaxed), 1);
    // From then on no client waits, although every round does.
    eventually("another round has begun", || async {
        let start = Instant::now();
        let response = gateway.get("/openapi.json").await;
        assert_eq!(response.status(), 200);
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "{:?}",
            start.elapsed()
        );
        (fetches.load(Ordering::Relaxed) > 1).then_some(())
    })
    .await;
}

#[test]
fn committed_document_is_complete() {
    let contract = Contract::new(include_str!("../../openapi.json"));
    assert_complete(&contract);
    // Responses of the gateway are documented for every operation that it forwards.
    for operation in contract.operations() {
        let responses = &operation.value["responses"];
        let forwarded = operation.path.starts_with("/v1/") || operation.path.starts_with("/s/");
        assert_eq!(
            responses.get("504").is_some(),
            forwarded || operation.path.starts_with("/.")
        );
        let codes = responses["429"]["x-problem-codes"].as_array();
        let limited = codes.is_some_and(|codes| codes.contains(&json!("rate_limited")));
        assert_eq!(limited, operation.path != "/health", "{}", operation.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documentation_loads_nothing_from_other_origins() {
    let gateway = Gateway::start("").await;
    let response = gateway.get("/docs").await;
    assert_eq!(response.status(), 301);
    assert_eq!(response.headers()["location"], "/docs/");
    let page = gateway.get("/docs/").await;
    assert_eq!(page.status(), 200);
    assert!(
        page.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    let policy = page.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(!policy.contains("http"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    let html = page.text().await.unwrap();
    let named: Vec<&str> = html
        .split(['"', '\''])
        .filter(|text| {
            [".js", ".css", ".png"]
                .iter()
                .any(|end| text.ends_with(end))
        })
        .collect();
    assert_eq!(named.len(), 5, "{named:?}");
    for file in named {
        let response = gateway.get(&format!("/docs/{file}")).await;
        assert_eq!(response.status(), 200, "{file}");
        assert_eq!(
            response.headers()["content-security-policy"],
            policy,
            "{file}"
        );
    }
    problem(
        gateway.get("/docs/../../etc/passwd.js").await,
        404,
        "no_route",
    )
    .await;
    problem(gateway.get("/docs/nothing.js").await, 404, "no_route").await;
    // No service is available, so there is no document yet.
    problem(
        gateway.get("/openapi.json").await,
        503,
        "upstream_unreachable",
    )
    .await;
    let health = gateway.get("/health").await;
    assert_eq!(health.json::<Value>().await.unwrap()["status"], "ok");
}

/// A fetch is an attempt like any other: it has the host of the upstream, and says what became of the
/// replica.
#[tokio::test(flavor = "multi_thread")]
async fn documents_are_fetched_as_requests_are_sent() {
    let replica = free_address();
    let settings = format!(
        "shipped_routes = false\n[documents]\nrefresh_seconds = 0\n\
         [upstreams.core]\naddresses = [\"{replica}\"]\nhost = \"core.internal:8443\"\n\
         openapi = \"/v1/core/openapi.json\"\nmin_eject_ms = 60000\nmax_eject_ms = 60000\n\
         [routes.openapi]\npaths = [\"/openapi.json\"]\nserve = \"openapi\"\nauth = \"public\"\n"
    );
    let gateway = Gateway::start(&settings).await;
    let state = async || {
        let shown: Value = gateway.admin("/upstreams").await.json().await.unwrap();
        shown["upstreams"][0]["replicas"][0]["state"].clone()
    };
    assert_eq!(state().await, "healthy");
    let missing = gateway.get("/openapi.json").await;
    problem(missing, 503, "upstream_unreachable").await;
    assert_eq!(state().await, "ejected");
    // A server of many names.
    let by_name = |request: Request, next: Next| async move {
        if request.headers()["host"] == "core.internal:8443" {
            next.run(request).await
        } else {
            StatusCode::NOT_FOUND.into_response()
        }
    };
    crate::support::serve_on(replica, document("core").layer(from_fn(by_name))).await;
    eventually("the document is fetched", || async {
        (gateway.get("/openapi.json").await.status() == 200).then_some(())
    })
    .await;
    assert_eq!(state().await, "healthy");
}
