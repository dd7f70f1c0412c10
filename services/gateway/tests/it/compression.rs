//! Compressed responses, and requests with compressed bodies.

use std::io::{Read as _, Write as _};

use axum::{Router, body::Body, response::IntoResponse as _, routing::get};
use bytes::Bytes;
use futures_util::stream::unfold;
use tokio::sync::mpsc;

use crate::support::{Gateway, Origin, REPLY, client, echo, problem, route, serve, upstream};

async fn start(origin: &Origin, more: &str) -> Gateway {
    let settings = [
        upstream(&[origin.serve().await]),
        "[caches.c]\n".to_owned(),
        route("all", "/*", more),
    ];
    Gateway::start(&settings.concat()).await
}

fn text() -> String {
    "a text that says the same again; ".repeat(100)
}

fn decoded(coding: &str, bytes: &[u8]) -> String {
    let mut text = String::new();
    match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_string(&mut text),
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_string(&mut text),
        "zstd" => zstd::stream::read::Decoder::new(bytes)
            .unwrap()
            .read_to_string(&mut text),
        _ => {
            let mut bytes = bytes;
            bytes.read_to_string(&mut text)
        }
    }
    .unwrap();
    text
}

struct Got {
    status: u16,
    coding: String,
    headers: reqwest::header::HeaderMap,
    body: Bytes,
}

async fn ask(gateway: &Gateway, method: &str, reply: &str, more: &[(&str, &str)]) -> Got {
    let mut request = client()
        .request(method.parse().unwrap(), gateway.url("/a"))
        .header(REPLY, reply);
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    let headers = response.headers().clone();
    let coding = headers.get("content-encoding");
    Got {
        status: response.status().as_u16(),
        coding: coding.map_or(String::new(), |value| value.to_str().unwrap().to_owned()),
        headers,
        body: response.bytes().await.unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_are_compressed_as_clients_accept_them() {
    let origin = Origin::default();
    let gateway = start(&origin, "compress = true").await;
    let plain = text();
    let reply = format!("content-type: text/plain|etag: \"a\"|content-md5: x|body: {plain}");
    for (accepted, coding) in [
        ("gzip", "gzip"),
        ("br", "br"),
        ("zstd", "zstd"),
        ("gzip, br;q=0.5, zstd;q=0", "gzip"),
        ("identity", ""),
        ("gzip;q=0, *;q=0", ""),
    ] {
        let got = ask(&gateway, "GET", &reply, &[("accept-encoding", accepted)]).await;
        assert_eq!((got.status, &*got.coding), (200, coding), "{accepted}");
        assert_eq!(decoded(coding, &got.body), plain.trim(), "{accepted}");
        assert_eq!(got.headers["vary"], "accept-encoding", "{accepted}");
        let etag = if coding.is_empty() {
            "\"a\""
        } else {
            "W/\"a\""
        };
        assert_eq!(got.headers["etag"], etag, "{accepted}");
        assert_eq!(got.headers.contains_key("content-md5"), coding.is_empty());
        assert_eq!(
            got.headers.contains_key("content-length"),
            coding.is_empty()
        );
        let head = ask(&gateway, "HEAD", &reply, &[("accept-encoding", accepted)]).await;
        assert_eq!((&*head.coding, head.body.len()), (coding, 0), "{accepted}");
        assert_eq!(head.headers["etag"], etag, "{accepted}");
    }
    let none = ask(&gateway, "GET", &reply, &[]).await;
    assert_eq!(
        (&*none.coding, none.headers["vary"].to_str().unwrap()),
        ("", "accept-encoding")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_compressed_passes() {
    let origin = Origin::default();
    let gateway = start(&origin, "compress = { level = 9, algorithms = [\"gzip\"] }").await;
    let plain = text();
    for fields in [
        "content-type: text/event-stream",
        "content-type: application/grpc",
        "content-type: image/png",
        "content-type: text/plain|cache-control: no-transform",
        "content-type: text/plain|content-encoding: x",
        "content-type: text/plain|status: 206|content-range: bytes 0-9/20",
    ] {
        let reply = format!("{fields}|body: {plain}");
        let got = ask(&gateway, "GET", &reply, &[("accept-encoding", "gzip")]).await;
        assert_ne!(got.coding, "gzip", "{fields}");
        assert_eq!(got.body, plain.trim(), "{fields}");
        assert!(got.headers.contains_key("content-length"), "{fields}");
    }
    let reply = "content-type: text/plain|body: short";
    let got = ask(&gateway, "GET", reply, &[("accept-encoding", "gzip")]).await;
    assert_eq!((&*got.coding, &got.body[..]), ("", &b"short"[..]));
}

/// What comes slowly is sent as it comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_not_held_back() {
    let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
    let parts = std::sync::Arc::new(std::sync::Mutex::new(Some(receiver)));
    let router = Router::new().fallback(get(move || {
        let parts = parts.lock().unwrap().take().unwrap();
        async move {
            let next = async |mut parts: mpsc::UnboundedReceiver<Bytes>| {
                let part = parts.recv().await?;
                Some((Ok::<_, std::io::Error>(part), parts))
            };
            let body = Body::from_stream(unfold(parts, next));
            ([("content-type", "text/plain")], body).into_response()
        }
    }));
    let settings = [
        upstream(&[serve(router).await]),
        route("all", "/*", "compress = true"),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let request = client()
        .get(gateway.url("/a"))
        .header("accept-encoding", "gzip");
    sender.send(Bytes::from_static(b"first")).unwrap();
    let mut response = request.send().await.unwrap();
    let mut received = Vec::new();
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    for part in ["first", "second"] {
        if part == "second" {
            sender.send(Bytes::from_static(b"second")).unwrap();
        }
        while !decoder.get_ref().ends_with(part.as_bytes()) {
            let chunk = response.chunk().await.unwrap().unwrap();
            received.extend_from_slice(&chunk);
            decoder.write_all(&chunk).unwrap();
            decoder.flush().unwrap();
        }
    }
    drop(sender);
    while let Some(chunk) = response.chunk().await.unwrap() {
        received.extend_from_slice(&chunk);
    }
    assert_eq!(decoded("gzip", &received), "firstsecond");
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_responses_are_stored_for_those_who_accept_them() {
    let origin = Origin::default();
    let gateway = start(&origin, "compress = true\ncache = \"c\"").await;
    let plain = text();
    let reply =
        format!("content-type: text/plain|cache-control: max-age=60|etag: \"a\"|body: {plain}");
    for round in 1..=2 {
        for (at, accepted) in ["gzip", "br", ""].into_iter().enumerate() {
            let got = ask(&gateway, "GET", &reply, &[("accept-encoding", accepted)]).await;
            assert_eq!((got.status, &*got.coding), (200, accepted));
            assert_eq!(decoded(accepted, &got.body), plain.trim());
            let status = got.headers["cache-status"].to_str().unwrap();
            assert_eq!(
                status.starts_with("quartet; hit"),
                round == 2,
                "{accepted}: {status}"
            );
            let count = if round == 1 { at + 1 } else { 3 };
            assert_eq!(origin.count(), count, "{accepted}");
        }
    }
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(9));
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_request_bodies_pass_are_refused_or_decoded() {
    let settings = [
        upstream(&[serve(echo()).await]),
        route("pass", "/pass", ""),
        route("refuse", "/refuse", "request_decompression = \"refuse\""),
        route(
            "decode",
            "/decode",
            "request_decompression = \"decode\"\nbody_limit_bytes = 1000000",
        ),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let send = async |path: &str, coding: Option<&str>, body: Vec<u8>| {
        let mut request = client().post(gateway.url(path)).body(body);
        if let Some(coding) = coding {
            request = request.header("content-encoding", coding);
        }
        request.send().await.unwrap()
    };
    let received = async |response: reqwest::Response| {
        assert_eq!(response.status(), 200);
        let body: serde_json::Value = response.json().await.unwrap();
        let headers = body["headers"].to_string();
        (
            body["body_bytes"].as_u64().unwrap(),
            headers.contains("content-encoding"),
        )
    };
    let plain = text();
    let encoded = gzip(plain.as_bytes());
    let length = encoded.len() as u64;
    let response = send("/pass", Some("gzip"), encoded.clone()).await;
    assert_eq!(received(response).await, (length, true));
    for path in ["/refuse", "/decode"] {
        let response = send(path, None, plain.clone().into()).await;
        assert_eq!(
            received(response).await,
            (plain.len() as u64, false),
            "{path}"
        );
        let response = send(path, Some("deflate"), encoded.clone()).await;
        assert!(response.headers().contains_key("accept-encoding"));
        problem(response, 415, "unsupported_coding").await;
        let response = send(path, Some("gzip, gzip"), encoded.clone()).await;
        problem(response, 415, "unsupported_coding").await;
    }
    problem(
        send("/refuse", Some("gzip"), encoded.clone()).await,
        415,
        "unsupported_coding",
    )
    .await;
    let response = send("/decode", Some("gzip"), encoded.clone()).await;
    assert_eq!(received(response).await, (plain.len() as u64, false));
    let broken = encoded[..encoded.len() - 4].to_vec();
    problem(
        send("/decode", Some("gzip"), broken).await,
        400,
        "malformed_request",
    )
    .await;
    let bomb = gzip(&vec![0; 50_000_000]);
    problem(
        send("/decode", Some("gzip"), bomb).await,
        413,
        "body_too_large",
    )
    .await;
}

/// An upstream with HTTP/2 that says how long a body was.
async fn http2_upstream() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    tokio::spawn(async move {
                        let mut body = request.into_body();
                        let mut length = 0;
                        while let Some(Ok(part)) = body.data().await {
                            length += part.len();
                            body.flow_control().release_capacity(part.len()).unwrap();
                        }
                        let head = http::Response::new(());
                        let mut send = respond.send_response(head, false).unwrap();
                        send.send_data(length.to_string().into(), true).unwrap();
                    });
                }
            });
        }
    });
    address
}

/// What HTTP/1.1 says of a body has no place in HTTP/2.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_decoded_for_an_upstream_with_http2() {
    let settings = [
        upstream(&[http2_upstream().await]),
        "http2 = true\n".to_owned(),
        route("decode", "/decode", "request_decompression = \"decode\""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let plain = text();
    let request = client()
        .post(gateway.url("/decode"))
        .header("content-encoding", "gzip")
        .body(gzip(plain.as_bytes()));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), plain.len().to_string());
}
