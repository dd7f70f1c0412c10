//! Copies of requests for another upstream.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::{Bytes, to_bytes},
    extract::Request,
    routing::any,
};
use serde_json::Value;
use tokio::{io::AsyncReadExt as _, net::TcpListener};

use crate::support::{Gateway, client, echo, eventually, free_address, route, serve, upstream};

type Received = Arc<Mutex<Vec<(String, Vec<(String, String)>, Bytes)>>>;

/// An upstream that remembers what it receives, and answers with an error.
async fn recorder() -> (std::net::SocketAddr, Received) {
    let received = Received::default();
    let all = Arc::clone(&received);
    let router = Router::new().fallback(any(move |request: Request| async move {
        let (head, body) = request.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let headers = head.headers.iter();
        let headers =
            headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        let line = format!("{} {}", head.method, head.uri);
        all.lock().unwrap().push((line, headers.collect(), body));
        axum::http::StatusCode::INTERNAL_SERVER_ERROR
    }));
    (serve(router).await, received)
}

fn mirror(address: std::net::SocketAddr, rule: &str) -> String {
    let more = format!("rewrite = \"/in/*\"\nmirror = {{ upstream = \"copy\", {rule} }}");
    format!(
        "[upstreams.copy]\naddresses = [\"{address}\"]\n{}",
        route("r", "/a/*", &more)
    )
}

fn outcome(name: &str) -> String {
    format!(
        "gateway_mirrored_requests_total{{service=\"gateway\",upstream=\"copy\",outcome=\"{name}\"}}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mirror_gets_what_the_upstream_gets() {
    let (copy, received) = recorder().await;
    let settings = [
        upstream(&[serve(echo()).await]),
        mirror(copy, "percent = 100, max_body_bytes = 100"),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let mut sent = 0;
    for (method, body) in [("GET", ""), ("POST", "body"), ("PUT", ""), ("HEAD", "")] {
        let request = client().request(method.parse().unwrap(), gateway.url("/a/b%20c?x=1"));
        let request = request
            .header("x-kept", "1")
            .header("x-user-id", "forged")
            .header("authorization", "Bearer a");
        let response = request.body(body).send().await.unwrap();
        assert_eq!(
            response.status(),
            200,
            "the answer of the mirror is ignored"
        );
        sent += 1;
        eventually("the copy arrives", || async {
            (received.lock().unwrap().len() == sent).then_some(())
        })
        .await;
        let (line, mut headers, copied) = received.lock().unwrap()[sent - 1].clone();
        assert_eq!(line, format!("{method} /in/b%20c?x=1"));
        assert_eq!(copied, body);
        if method == "HEAD" {
            continue;
        }
        let echoed: Value = response.json().await.unwrap();
        let of_upstream = echoed["headers"].as_array().unwrap().iter();
        let mut of_upstream: Vec<(String, String)> = of_upstream
            .map(|pair| {
                (
                    pair[0].as_str().unwrap().into(),
                    pair[1].as_str().unwrap().into(),
                )
            })
            .collect();
        for headers in [&mut headers, &mut of_upstream] {
            headers.retain(|(name, _)| name != "content-length" && name != "connection");
            headers.sort();
        }
        assert_eq!(headers, of_upstream, "{method}");
    }
    // Announced, and not.
    let large = "x".repeat(101);
    let request = client().post(gateway.url("/a/large")).body(large.clone());
    assert_eq!(request.send().await.unwrap().status(), 200);
    let parts = futures_util::stream::iter([Ok::<_, std::io::Error>(large.clone())]);
    let request = client().post(gateway.url("/a/large"));
    let request = request.body(reqwest::Body::wrap_stream(parts));
    let echoed: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(echoed["body_bytes"], 101);
    eventually("both are skipped", || async {
        (gateway.count(&outcome("skipped")).await == 2).then_some(())
    })
    .await;
    assert_eq!(gateway.count(&outcome("sent")).await, sent);
    assert_eq!(received.lock().unwrap().len(), sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_is_mirrored() {
    let (copy, received) = recorder().await;
    let settings = [
        upstream(&[serve(echo()).await]),
        mirror(copy, "percent = 10"),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    for _ in 0..100 {
        assert_eq!(gateway.get("/a/b").await.status(), 200);
    }
    eventually("the copies arrive", || async {
        (received.lock().unwrap().len() == 10).then_some(())
    })
    .await;
}

/// A mirror that is down or silent is no one's concern.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_does_not_answer_delays_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = silent.accept().await {
            kept.push(tokio::spawn(async move {
                while stream.read(&mut [0; 4096]).await.unwrap_or(0) > 0 {}
            }));
        }
    });
    let upstream = upstream(&[serve(echo()).await]);
    let rule = "max_in_flight = 2, timeout_ms = 60000";
    let gateway = Gateway::start(&[&*upstream, &mirror(address, rule)].concat()).await;
    for _ in 0..10 {
        assert_eq!(gateway.get("/a/b").await.status(), 200);
    }
    assert_eq!(
        gateway.count(&outcome("skipped")).await,
        8,
        "two have a place"
    );
    gateway
        .reload(&[&*upstream, &mirror(address, "timeout_ms = 10")].concat())
        .await;
    assert_eq!(gateway.get("/a/b").await.status(), 200);
    eventually("the time is over", || async {
        (gateway.count(&outcome("failed")).await == 1).then_some(())
    })
    .await;
    gateway
        .reload(&[&*upstream, &mirror(free_address(), "percent = 100")].concat())
        .await;
    assert_eq!(gateway.get("/a/b").await.status(), 200);
    eventually("it cannot be reached", || async {
        (gateway.count(&outcome("failed")).await == 2).then_some(())
    })
    .await;
}
