use std::time::Duration;

use axum::{Router, routing::post};
use quartet_http::extract::Json;
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use quartet_testing::server::start;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    count: u8,
}

async fn broken() {
    panic!("s3cret cause");
}

fn router() -> Router {
    Router::new()
        .route(
            "/orders",
            post(|Json(order): Json<Order>| async move { order.count.to_string() }),
        )
        .route("/panic", post(broken))
        .route(
            "/slow",
            post(|| async { std::future::pending::<()>().await }),
        )
}

#[tokio::test]
async fn every_wrong_request_gets_a_problem_with_the_request_id() {
    let running = start(router(), |server| server.body_limit_bytes = 100).await;
    let http = reqwest::Client::new();
    let big = format!(r#"{{"count": {}}}"#, "1".repeat(200));
    let cases = [
        (
            "POST",
            "/orders",
            "application/json",
            r#"{"count": 1"#,
            400,
            "malformed_json",
        ),
        (
            "POST",
            "/orders",
            "application/json",
            r#"{"count": 999}"#,
            422,
            "invalid_body",
        ),
        (
            "POST",
            "/orders",
            "application/json",
            r#"{"cuont": 9}"#,
            422,
            "invalid_body",
        ),
        (
            "POST",
            "/orders",
            "text/plain",
            r#"{"count": 9}"#,
            415,
            "unsupported_media_type",
        ),
        (
            "POST",
            "/orders",
            "application/json",
            &big,
            413,
            "body_too_large",
        ),
        (
            "GET",
            "/orders",
            "application/json",
            "",
            405,
            "method_not_allowed",
        ),
        ("GET", "/nothing", "application/json", "", 404, "no_route"),
        ("POST", "/panic", "application/json", "", 500, "internal"),
    ];
    for (method, path, content_type, body, status, code) in cases {
        let request = http
            .request(method.parse().unwrap(), running.url(path))
            .header("content-type", content_type)
            .header("x-request-id", "given-id")
            .body(body.to_owned());
        let problem = problem_of(request, status).await;
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["instance"], path);
    }
}

async fn problem_of(request: reqwest::RequestBuilder, status: u16) -> Value {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), status);
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    assert_eq!(response.headers()["x-request-id"], "given-id");
    let text = response.text().await.unwrap();
    assert!(!text.contains("s3cret"), "{text}");
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(problem["request_id"], "given-id");
    assert_eq!(problem["status"], status);
    problem
}

#[tokio::test]
async fn a_forged_request_id_is_replaced() {
    let running = start(router(), |_| {}).await;
    let response = reqwest::Client::new()
        .post(running.url("/orders"))
        .header("x-request-id", "a b\"c")
        .json(&serde_json::json!({"count": 3}))
        .send()
        .await
        .unwrap();
    let id = response.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(uuid::Uuid::parse_str(&id).is_ok(), "{id}");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_answered_with_408() {
    let running = start(router(), |server| server.body_timeout_seconds = 1).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = "POST /orders HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 12\r\n\r\n{\"co";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[tokio::test]
async fn an_answer_before_the_body_keeps_the_connection() {
    let running = start(router(), |_| {}).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = |kind: &str| {
        format!(
            "POST /orders HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: 12\r\n\r\n"
        )
    };
    stream
        .write_all(head("text/plain").as_bytes())
        .await
        .unwrap();
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 415"));
    // Only now the body, as from a proxy that was still about to send it.
    stream.write_all(b"{\"count\": 3}").await.unwrap();
    stream
        .write_all(head("application/json").as_bytes())
        .await
        .unwrap();
    stream.write_all(b"{\"count\": 3}").await.unwrap();
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
}

/// One answer with a content length, head and body.
async fn answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(text).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    head
}

#[tokio::test]
async fn a_handler_that_hangs_is_answered_with_503() {
    let running = start(router(), |server| server.request_timeout_seconds = 1).await;
    let response = reqwest::Client::new()
        .post(running.url("/slow"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["code"], "timed_out");
}

#[tokio::test]
async fn metrics_count_by_route_and_status_and_not_by_path() {
    let running = start(router(), |_| {}).await;
    let http = reqwest::Client::new();
    for path in ["/orders", "/nothing/1", "/nothing/2"] {
        http.post(running.url(path)).send().await.unwrap();
    }
    let text = http
        .get(running.url("/metrics"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let orders = r#"http_route="/orders",http_response_status_code="422""#;
    assert!(text.contains(orders), "{text}");
    assert!(
        text.contains(r#"http_route="unmatched",http_response_status_code="404"} 2"#),
        "{text}"
    );
    assert!(!text.contains("/nothing"), "{text}");
    assert!(
        text.contains("http_server_request_duration_seconds_bucket"),
        "{text}"
    );
}

#[tokio::test]
async fn a_head_that_is_too_long_is_answered_with_431() {
    let running = start(router(), |_| {}).await;
    for (bytes, status) in [(65_000, "200"), (66_000, "431"), (200_000, "431")] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let head = format!(
            "GET /health HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n",
            "b".repeat(bytes)
        );
        let _ = stream.write_all(head.as_bytes()).await;
        let mut answer = [0; 12];
        let read = stream.read_exact(&mut answer);
        let read = tokio::time::timeout(Duration::from_secs(5), read).await;
        read.unwrap().unwrap();
        assert_eq!(answer, format!("HTTP/1.1 {status}").as_bytes());
    }
}
