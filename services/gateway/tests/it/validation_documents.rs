//! `validate`: which document is in force, what is counted, and responses.

use std::sync::{Arc, Mutex, atomic::Ordering};

use axum::{
    Router,
    extract::Request,
    routing::{any, get},
};
use http::StatusCode;
use reqwest::Body;
use serde_json::{Value, json};

use crate::support::{
    Gateway, client, counted, document, echo, eventually, given, problem, route, serve, upstream,
};

/// A service with a document that can change, or be missing.
struct Documented {
    document: Arc<Mutex<Option<Value>>>,
}

impl Documented {
    fn router(document: Option<Value>) -> (Self, Router) {
        let document = Arc::new(Mutex::new(document));
        let served = Arc::clone(&document);
        let router = Router::new()
            .route(
                "/openapi.json",
                get(move || {
                    let document = served.lock().unwrap().clone();
                    async move {
                        document
                            .map(|it| it.to_string())
                            .ok_or(StatusCode::NOT_FOUND)
                    }
                }),
            )
            .fallback(any(|| async { "ok" }));
        (Self { document }, router)
    }

    fn change(&self, document: Option<Value>) {
        *self.document.lock().unwrap() = document;
    }
}

fn paths(names: &[&str]) -> Value {
    let paths = names
        .iter()
        .map(|name| ((*name).to_owned(), json!({"get": {"operationId": name}})));
    json!({"openapi": "3.0.3", "paths": paths.collect::<serde_json::Map<_, _>>()})
}

async fn fetched(validate: &str, keep: u32, router: Router) -> Gateway {
    let address = serve(router).await;
    let settings = [
        format!(
            "[documents]\nrefresh_seconds = 0\n[validation]\nprevious_document_seconds = {keep}\n"
        ),
        upstream(&[address]).replacen("shipped_routes = false\n", "", 1),
        "openapi = \"/openapi.json\"\n".to_owned(),
        route("all", "/*", &format!("validate = \"{validate}\"")),
    ];
    Gateway::start(&format!("shipped_routes = false\n{}", settings.concat())).await
}

async fn status(gateway: &Gateway, path: &str) -> u16 {
    gateway.get(path).await.status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_document_nothing_passes() {
    let (service, router) = Documented::router(None);
    let gateway = fetched("block", 0, router).await;
    let refused = gateway.get("/a").await;
    assert_eq!(refused.headers()["retry-after"], "1");
    problem(refused, 503, "unavailable").await;
    let ready = gateway.admin("/ready").await;
    assert_eq!(ready.status(), 503);
    let ready: Value = ready.json().await.unwrap();
    assert!(
        ready
            .to_string()
            .contains("the OpenAPI document of u is not known"),
        "{ready}"
    );
    service.change(Some(paths(&["/a"])));
    eventually("the document is in force", || async {
        (status(&gateway, "/a").await == 200).then_some(())
    })
    .await;
    assert_eq!(status(&gateway, "/b").await, 404);
    assert_eq!(gateway.admin("/ready").await.status(), 200);
    // It stays in force while there is none, or one that cannot be read.
    for broken in [None, Some(json!({"swagger": "2.0"}))] {
        let is_refusal = broken.is_some();
        service.change(broken);
        let fetched_again = || async {
            let lines = gateway.lines();
            let message = if is_refusal {
                "refused"
            } else {
                "cannot fetch"
            };
            lines
                .iter()
                .any(|it| it["msg"].to_string().contains(message))
                .then_some(())
        };
        eventually("the document was asked for again", fetched_again).await;
        assert_eq!(
            (status(&gateway, "/a").await, status(&gateway, "/b").await),
            (200, 404)
        );
    }
}

/// A gateway that had a document with `/a` and `/b`, and now has one with `/b` and `/c`.
async fn changed(keep: u32) -> Gateway {
    let (service, router) = Documented::router(Some(paths(&["/a", "/b"])));
    let gateway = fetched("block", keep, router).await;
    eventually("the document is in force", || async {
        (status(&gateway, "/a").await == 200).then_some(())
    })
    .await;
    service.change(Some(paths(&["/b", "/c"])));
    eventually("the other document is in force", || async {
        (status(&gateway, "/c").await == 200).then_some(())
    })
    .await;
    gateway
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_document_takes_effect() {
    let gateway = changed(0).await;
    assert_eq!(
        (status(&gateway, "/a").await, status(&gateway, "/b").await),
        (404, 200)
    );
}

/// What either version of a service allows passes, while both run.
#[tokio::test(flavor = "multi_thread")]
async fn two_versions_of_a_document_count_during_a_rollout() {
    let gateway = changed(3_600).await;
    assert_eq!(
        (status(&gateway, "/a").await, status(&gateway, "/b").await),
        (200, 200)
    );
    assert_eq!(status(&gateway, "/d").await, 404);
    // A reload keeps both.
    let settings = std::fs::read_to_string(gateway.file()).unwrap();
    gateway
        .reload(&settings.replace("\"block\"", "\"block\"\nlimit = []"))
        .await;
    assert_eq!(
        (status(&gateway, "/a").await, status(&gateway, "/c").await),
        (200, 200)
    );
}

/// An operation whose schemas lead elsewhere is refused, and nothing is asked for them.
#[tokio::test(flavor = "multi_thread")]
async fn references_are_never_fetched() {
    let (elsewhere, asked) = counted(echo()).await;
    let mut document = paths(&["/a", "/b"]);
    let schema = json!({"$ref": format!("http://{elsewhere}/schema.json")});
    document["paths"]["/b"]["get"]["parameters"] =
        json!([{"name": "q", "in": "query", "schema": schema}]);
    let (_, router) = Documented::router(Some(document));
    let gateway = fetched("block", 0, router).await;
    eventually("the document is in force", || async {
        (status(&gateway, "/a").await == 200).then_some(())
    })
    .await;
    problem(gateway.get("/b").await, 503, "unavailable").await;
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

/// In shadow, everything passes, and is counted by what the document calls it.
#[tokio::test(flavor = "multi_thread")]
async fn shadow_counts_and_refuses_nothing() {
    let (address, count) = counted(echo()).await;
    let settings = [
        upstream(&[address]),
        given(&document()),
        route("all", "/*", "validate = \"shadow\""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    for target in [
        "/query?limit=0&secret=s3cret",
        "/query?limit=0",
        "/nothing/s3cret",
    ] {
        assert_eq!(status(&gateway, target).await, 200);
    }
    let order = json!({"email": "a@b.c", "items": [{"count": "s3cret"}], "s3cret": 1});
    for chunked in [false, true] {
        let body = order.to_string();
        let body = if chunked {
            Body::wrap_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(body)]))
        } else {
            Body::from(body)
        };
        let request = client().post(gateway.url("/body")).body(body);
        let response = request
            .header("content-type", "application/json")
            .send()
            .await
            .unwrap();
        let seen: Value = response.json().await.unwrap();
        assert_eq!(seen["body_bytes"], order.to_string().len());
    }
    assert_eq!(count.load(Ordering::Relaxed), 5);
    let violations = async |operation: &str, field: &str, kind: &str| {
        let labels = format!(
            "service=\"gateway\",subject=\"request\",operation=\"{operation}\",field=\"{field}\",kind=\"{kind}\""
        );
        let name = format!("gateway_validation_violations_total{{{labels}}}");
        gateway.count(&name).await
    };
    assert_eq!(violations("query", "query.limit", "too_small").await, 2);
    assert_eq!(violations("unknown", "path", "unknown").await, 1);
    assert_eq!(
        violations("post_body", "/items/*/count", "invalid_value").await,
        2
    );
    assert_eq!(violations("post_body", "/*", "unknown").await, 2);
    let invalid = "gateway_validation_checks_total{service=\"gateway\",subject=\"request\",outcome=\"invalid\"}";
    assert_eq!(gateway.count(invalid).await, 5);
    assert!(!gateway.metrics().await.contains("s3cret"));
    let line = gateway.access_line("/query").await;
    assert_eq!(line["violation"], "request query.limit too_small");
}

/// Responses are counted by what the document says of them, and are passed on as they are.
#[tokio::test(flavor = "multi_thread")]
async fn responses_are_counted_and_passed_on() {
    let response = json!({"description": "d", "content": {"application/json": {"schema":
        {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}}},
        "headers": {"X-Needed": {"required": true}}});
    let mut document = paths(&["/a"]);
    document["paths"]["/a"]["get"]["responses"] = json!({"200": response, "4XX": {}});
    let replies = [
        (200, "application/json", "{\"id\": 1}", true),
        (200, "application/json", "{\"id\": \"x\"}", true),
        (200, "application/json", "{", true),
        (200, "text/plain", "ok", true),
        (200, "application/json", "{\"id\": 1}", false),
        (404, "text/plain", "none", true),
        (500, "text/plain", "broken", true),
    ];
    let router = Router::new().fallback(any(move |request: Request| async move {
        let at: usize = request.uri().query().unwrap().parse().unwrap();
        let (status, kind, body, has_header) = replies[at];
        let response = http::Response::builder()
            .status(status)
            .header("content-type", kind);
        let response = if has_header {
            response.header("x-needed", "1")
        } else {
            response
        };
        response.body(axum::body::Body::from(body)).unwrap()
    }));
    let address = serve(router).await;
    let settings = [
        upstream(&[address]),
        given(&document),
        route("all", "/*", "validate = \"block\""),
        "[validation]\nresponse_percent = 100\n".to_owned(),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    for (at, (status, _, body, _)) in replies.into_iter().enumerate() {
        let response = gateway.get(&format!("/a?{at}")).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.text().await.unwrap(), body);
    }
    let count = async |outcome: &str| {
        let labels = format!("service=\"gateway\",subject=\"response\",outcome=\"{outcome}\"");
        gateway
            .count(&format!("gateway_validation_checks_total{{{labels}}}"))
            .await
    };
    eventually("all are counted", || async {
        ((count("valid").await, count("invalid").await) == (2, 5)).then_some(())
    })
    .await;
    for (field, kind) in [
        ("/id", "invalid_value"),
        ("body", "malformed"),
        ("content-type", "unsupported_media_type"),
        ("X-Needed", "missing"),
        ("status", "unknown"),
    ] {
        let labels = format!(
            "service=\"gateway\",subject=\"response\",operation=\"/a\",field=\"{field}\",kind=\"{kind}\""
        );
        let name = format!("gateway_validation_violations_total{{{labels}}}");
        assert_eq!(gateway.count(&name).await, 1, "{field}");
    }
}

/// Of a share of the responses, exactly that share is looked at.
#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_the_responses_is_compared() {
    let mut document = paths(&["/a"]);
    document["paths"]["/a"]["get"]["responses"] = json!({"201": {}});
    let settings = [
        upstream(&[serve(echo()).await]),
        given(&document),
        route("all", "/*", "validate = \"shadow\""),
        "[validation]\nresponse_percent = 25\n".to_owned(),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    for _ in 0..100 {
        assert_eq!(status(&gateway, "/a").await, 200);
    }
    let invalid = "gateway_validation_checks_total{service=\"gateway\",subject=\"response\",outcome=\"invalid\"}";
    assert_eq!(gateway.count(invalid).await, 25);
}

/// The path is that which the upstream gets, and its own document counts for each part of a split.
#[tokio::test(flavor = "multi_thread")]
async fn each_upstream_has_its_document() {
    let (first, second) = (serve(echo()).await, serve(echo()).await);
    let settings = format!(
        "{}{}[upstreams.v]\naddresses = [\"{second}\"]\n{}\
         [routes.prefix]\npaths = [\"/api/*\"]\nupstream = \"u\"\nauth = \"public\"\nrewrite = \"/*\"\nvalidate = \"block\"\n\
         [routes.split]\npaths = [\"/*\"]\nauth = \"public\"\nvalidate = \"block\"\n\
         split = [{{ upstream = \"u\", weight = 1 }}, {{ upstream = \"v\", weight = 1 }}]\n",
        upstream(&[first]),
        given(&paths(&["/a"])),
        given(&paths(&["/b"])),
    );
    let gateway = Gateway::start(&settings).await;
    assert_eq!(status(&gateway, "/api/a").await, 200);
    problem(gateway.get("/api/b").await, 404, "no_route").await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(status(&gateway, "/a").await);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 404, 404]);
}

/// Who is refused before learns nothing, and what is refused here has been counted.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_limits_come_first() {
    let (address, _) = counted(echo()).await;
    let settings = [
        "[jwt]\njwks_url = \"\"\nhs256_secret = \"0123456789abcdef0123456789abcdef\"\n".to_owned(),
        "[limits.two]\nrequests = 2\nwindow_seconds = 3600\n".to_owned(),
        upstream(&[address]).replacen("shipped_routes = false\n", "", 1),
        given(&document()),
        route("open", "/v1/*", "validate = \"block\"\nlimit = \"two\""),
        "[routes.closed]\npaths = [\"/*\"]\nupstream = \"u\"\nvalidate = \"block\"\n".to_owned(),
    ];
    let gateway = Gateway::start(&format!("shipped_routes = false\n{}", settings.concat())).await;
    problem(gateway.get("/query?limit=0").await, 401, "unauthenticated").await;
    problem(
        gateway.get("/v1/query?limit=0").await,
        400,
        "invalid_parameter",
    )
    .await;
    problem(
        gateway.get("/v1/query?limit=0").await,
        400,
        "invalid_parameter",
    )
    .await;
    problem(gateway.get("/v1/query?limit=0").await, 429, "rate_limited").await;
}

/// A document in the configuration is refused with its reason, and changes with a reload.
#[tokio::test(flavor = "multi_thread")]
async fn a_given_document_is_checked_and_reloaded() {
    let address = serve(echo()).await;
    let settings = |document: &str| {
        let route = route("all", "/*", "validate = \"block\"");
        format!(
            "{}document = '''{document}'''\n{route}",
            upstream(&[address])
        )
    };
    let gateway = Gateway::start(&settings(&paths(&["/a"]).to_string())).await;
    assert_eq!(
        (status(&gateway, "/a").await, status(&gateway, "/b").await),
        (200, 404)
    );
    for (document, expected) in [
        ("{", "upstreams.u.document"),
        ("{\"openapi\": \"2.0\"}", "version 3.0 or 3.1"),
        ("{\"openapi\": \"3.1.0\"}", "must have `paths`"),
    ] {
        let error = gateway.refused_reload(&settings(document)).await;
        assert!(error.contains(expected), "{document}: {error}");
    }
    assert_eq!(
        (status(&gateway, "/a").await, status(&gateway, "/b").await),
        (200, 404)
    );
    gateway.reload(&settings(&paths(&["/b"]).to_string())).await;
    assert_eq!(
        (status(&gateway, "/a").await, status(&gateway, "/b").await),
        (404, 200)
    );
}
