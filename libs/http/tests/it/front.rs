use std::sync::Arc;

use axum::{Router, response::IntoResponse, routing::get};
use futures_util::FutureExt as _;
use quartet_common::problem::{Problem, kinds};
use quartet_http::front::{Front, FrontResponse, RequestHead};
use quartet_testing::server::{RunningServer, start_behind};
use serde_json::Value;

/// Takes what begins with `/f/`; the rest of the path says what happens.
struct Taker;

impl Front for Taker {
    fn route(&self) -> &'static str {
        "/f/{what}"
    }

    fn take(&self, request: &RequestHead<'_>) -> Option<FrontResponse> {
        let what = request.path.strip_prefix("/f/")?.to_owned();
        match what.as_str() {
            "left" => return None,
            "panics-at-once" => panic!("s3cret cause"),
            _ => {}
        }
        let client = request.client;
        let answer = async move {
            match what.as_str() {
                "panics" => panic!("s3cret cause"),
                "waits" => std::future::pending().await,
                "fails" => Err(Problem::new(&kinds::NO_ROUTE)),
                _ => Ok(format!("front {client}").into_response()),
            }
        };
        Some(answer.boxed())
    }
}

async fn running() -> RunningServer {
    let router = Router::new().route("/f/{what}", get(|| async { "router" }));
    start_behind(Some(Arc::new(Taker)), router, |server| {
        server.request_timeout_seconds = 1;
    })
    .await
}

#[tokio::test]
async fn the_front_keeps_the_promises_of_the_layers() {
    let running = running().await;
    let http = reqwest::Client::new();
    let ask = async |what: &str| {
        let request = http.get(running.url(&format!("/f/{what}")));
        request.header("x-request-id", "r-1").send().await.unwrap()
    };
    for (what, status, code) in [
        ("panics-at-once", 500, "internal"),
        ("panics", 500, "internal"),
        ("waits", 503, "timed_out"),
        ("fails", 404, "no_route"),
    ] {
        let answer = ask(what).await;
        assert_eq!(answer.status(), status, "{what}");
        assert_eq!(answer.headers()["x-request-id"], "r-1");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(
            (&body["code"], &body["request_id"]),
            (&Value::from(code), &Value::from("r-1")),
            "{what}"
        );
        assert!(!body.to_string().contains("s3cret"));
    }
    let answer = ask("plain").await;
    assert_eq!(answer.headers()["x-request-id"], "r-1");
    assert_eq!(answer.text().await.unwrap(), "front 127.0.0.1");
    assert_eq!(ask("left").await.text().await.unwrap(), "router");
    // Without a request id, or with one that is not valid, it gets a new one.
    for id in ["", "a b"] {
        let request = http.get(running.url("/f/plain")).header("x-request-id", id);
        let answer = request.send().await.unwrap();
        let id = answer.headers()["x-request-id"].to_str().unwrap();
        assert_eq!(uuid::Uuid::try_parse(id).unwrap().get_version_num(), 7);
    }
    let text = http
        .get(running.url("/metrics"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    for (status, count) in [(200, 4), (404, 1), (500, 2), (503, 1)] {
        let line = format!(
            "http_server_requests_total{{service=\"test\",http_request_method=\"GET\",\
             http_route=\"/f/{{what}}\",http_response_status_code=\"{status}\"}} {count}"
        );
        assert!(text.contains(&line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn a_request_with_a_body_passes_the_router() {
    let running = running().await;
    let request = reqwest::Client::new().get(running.url("/f/plain"));
    let answer = request.body("x").send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "router");
}

#[tokio::test]
async fn the_front_closes_connections_while_it_drains() {
    let running = running().await;
    running.readiness.set_draining();
    let answer = reqwest::get(running.url("/f/plain")).await.unwrap();
    assert_eq!(answer.headers()["connection"], "close");
}
