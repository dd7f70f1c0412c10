//! Hostile input: too large, too slow, or ambiguous.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, extract::Request, routing::any};
use futures_util::{StreamExt as _, stream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{
    Gateway, client, echo, exchange, problem, read_response, route, serve, upstream,
};

async fn gateway() -> Gateway {
    let address = serve(echo()).await;
    let settings = [
        upstream(&[address]),
        "[server]\nheader_timeout_seconds = 1\n".to_owned(),
        route(
            "all",
            "/*",
            "body_limit_bytes = 100000\nbody_timeout_seconds = 1",
        ),
    ]
    .concat();
    Gateway::start(&settings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_bodies_are_413_with_and_without_length() {
    let seen = Arc::new(AtomicUsize::new(0));
    let finished = Arc::clone(&seen);
    let router = Router::new().fallback(any(move |request: Request| async move {
        let mut body = request.into_body().into_data_stream();
        while let Some(part) = body.next().await {
            if part.is_err() {
                return;
            }
        }
        finished.fetch_add(1, Ordering::Relaxed);
    }));
    let settings = [
        upstream(&[serve(router).await]),
        route("all", "/*", "body_limit_bytes = 100000"),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let post = |body: reqwest::Body| client().post(gateway.url("/a")).body(body).send();
    let chunks = |count: usize| {
        let parts = stream::repeat_with(|| io::Result::Ok(vec![b'x'; 10_000]));
        reqwest::Body::wrap_stream(parts.take(count))
    };
    assert_eq!(
        post(vec![b'x'; 100_000].into()).await.unwrap().status(),
        200
    );
    assert_eq!(post(chunks(10)).await.unwrap().status(), 200);
    let refused = post(vec![b'x'; 100_001].into()).await.unwrap();
    problem(refused, 413, "body_too_large").await;
    problem(post(chunks(11)).await.unwrap(), 413, "body_too_large").await;
    problem(post(chunks(500)).await.unwrap(), 413, "body_too_large").await;
    assert_eq!(
        seen.load(Ordering::Relaxed),
        2,
        "the upstream must not receive a whole body that is refused"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_heads_are_431() {
    let gateway = gateway().await;
    let start = "GET /a HTTP/1.1\r\nhost: a\r\n";
    let fits = format!("{start}x: {}\r\n\r\n", "y".repeat(60_000));
    assert_eq!(exchange(gateway.public, fits.as_bytes()).await.status, 200);
    let many: Vec<String> = (0..100).map(|n| format!("x-{n}: 1\r\n")).collect();
    for request in [
        format!("{start}x: {}\r\n\r\n", "y".repeat(70_000)),
        format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "y".repeat(70_000)),
        format!("{start}{}\r\n", many.concat()),
    ] {
        exchange(gateway.public, request.as_bytes())
            .await
            .problem(431, "headers_too_large");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_slow_requests_are_408() {
    let gateway = gateway().await;
    let mut slow_head = TcpStream::connect(gateway.public).await.unwrap();
    slow_head
        .write_all(b"GET /slow-head HTTP/1.1\r\nhost:")
        .await
        .unwrap();
    read_response(&mut slow_head)
        .await
        .problem(408, "request_timeout");
    assert_eq!(gateway.access_line("/slow-head").await["status"], 408);
    let mut slow_body = TcpStream::connect(gateway.public).await.unwrap();
    slow_body
        .write_all(b"POST /slow-body HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf")
        .await
        .unwrap();
    read_response(&mut slow_body)
        .await
        .problem(408, "request_timeout");
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_requests_are_refused() {
    let gateway = gateway().await;
    for request in [
        "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nabcde",
        "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "GET /a HTTP/1.1\nhost: a\n\n",
        "GET /a HTTP/1.1\r\n\r\n",
        "GET /a HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
        "nonsense\r\n\r\n",
        "\x16\x03\x01\x02\r\n\r\n",
    ] {
        let response = exchange(gateway.public, request.as_bytes()).await;
        response.problem(400, "malformed_request");
    }
    for path in ["/a/../b", "/a/%2e%2e/b", "/./a"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
        exchange(gateway.public, request.as_bytes())
            .await
            .problem(400, "invalid_parameter");
    }
    // An invalid chunk is found only while the body is forwarded.
    let broken =
        "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n";
    exchange(gateway.public, broken.as_bytes())
        .await
        .problem(400, "malformed_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_survive_a_refused_request() {
    let gateway = gateway().await;
    let mut stream = TcpStream::connect(gateway.public).await.unwrap();
    for _ in 0..3 {
        stream
            .write_all(b"POST /a/../b HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody")
            .await
            .unwrap();
        read_response(&mut stream)
            .await
            .problem(400, "invalid_parameter");
        stream
            .write_all(b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(read_response(&mut stream).await.status, 200);
    }
}

/// RFC 9110, 9.3.2: the head is that of the response to GET, and no body follows.
#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_head_request_gets_no_body() {
    let gateway = gateway().await;
    let mut stream = TcpStream::connect(gateway.public).await.unwrap();
    let request = b"HEAD /rejected HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert!(!head.contains("content-length: 0"), "{head}");
    assert_eq!(body, "");
    assert_eq!(gateway.access_line("/rejected").await["bytes"], 0);
}
