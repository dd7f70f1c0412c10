//! `validate`: bodies of requests beside what the OpenAPI document says of them.

use std::sync::atomic::Ordering;

use axum::body::Bytes;
use http::{Method, header};
use reqwest::Body;
use serde_json::Value;

use crate::support::{
    DEADLINE, Gateway, blocking, client, counted, document, echo, exchange, first_error,
    free_address, given, problem, route, upstream,
};

/// Status and code of a problem, the pointer of its first error and its code.
type Fault = (u16, &'static str, &'static str, &'static str);

fn bodies() -> Vec<(String, Option<Fault>)> {
    let order =
        |more: &str| format!("{{\"email\": \"a@b.c\", \"items\": [{{\"count\": 1}}]{more}}}");
    let long = "x".repeat(LONG);
    vec![
        (order(""), None),
        (order(", \"note\": null, \"next\": null"), None),
        (order(", \"next\": {\"count\": 2, \"more\": 1}"), None),
        (order(", \"labels\": {\"a\": 1}"), None),
        (order(&format!(", \"note\": \"{long}\"")), None),
        (order(", \"note\": 1"), Some((422, "invalid_body", "/note", "invalid_value"))),
        (
            order(&format!(", \"note\": \"{long}\", \"x\": 1")),
            Some((422, "invalid_body", "/x", "unknown")),
        ),
        (order(", \"email\": \"d@e.f\""), Some((422, "invalid_body", "/email", "duplicate"))),
        (order(", \"next\": {\"count\": 0}"), Some((422, "invalid_body", "/next/count", "too_small"))),
        (order(", \"labels\": {\"a\": \"b\"}"), Some((422, "invalid_body", "/labels/a", "invalid_value"))),
        ("{}".into(), Some((422, "invalid_body", "/email", "missing"))),
        (
            "{\"email\": \"a@b.c\", \"items\": []}".into(),
            Some((422, "invalid_body", "/items", "too_short")),
        ),
        (
            "{\"email\": \"a@b.c\", \"items\": [{\"count\": 1}, {\"count\": 1, \"status\": \"x\"}]}".into(),
            Some((422, "invalid_body", "/items/1/status", "invalid_value")),
        ),
        ("[]".into(), Some((422, "invalid_body", "", "invalid_value"))),
        ("{".into(), Some((400, "malformed_json", "", ""))),
        (order("") + "x", Some((400, "malformed_json", "", ""))),
        ("\u{feff}{}".into(), Some((400, "malformed_json", "", ""))),
        ("[".repeat(1_000), Some((400, "malformed_json", "", ""))),
        (String::new(), Some((422, "invalid_body", "", "missing"))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_as_the_document_says() {
    let (gateway, count) = blocking(&document(), "").await;
    let mut forwarded = 0;
    let (short, long): (Vec<_>, Vec<_>) = bodies()
        .into_iter()
        .partition(|(body, _)| body.len() < LONG);
    for (body, fault) in short.into_iter().chain(long) {
        let (is_short, start) = (body.len() < 60_000, &body[..body.len().min(80)]);
        let response = post(&gateway, body.clone().into()).await;
        is_answered(response, &body, fault).await;
        if is_short {
            // Of a body that was read ahead and is not valid, the upstream sees nothing.
            forwarded += usize::from(fault.is_none());
            assert_eq!(count.load(Ordering::Relaxed), forwarded, "{start}");
        }
    }
}

const LONG: usize = 100_000;

/// Larger ones, and those in chunks, are held back while they arrive.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_in_parts_are_as_the_document_says() {
    let (gateway, _) = blocking(&document(), "").await;
    for (body, fault) in bodies() {
        let parts: Vec<_> = body
            .as_bytes()
            .chunks(7_000)
            .map(Bytes::copy_from_slice)
            .collect();
        let parts = parts.into_iter().map(Ok::<_, std::io::Error>);
        let sent = Body::wrap_stream(futures_util::stream::iter(parts));
        let response = post(&gateway, sent).await;
        is_answered(response, &body, fault).await;
    }
}

async fn post(gateway: &Gateway, body: Body) -> reqwest::Response {
    let request = client().post(gateway.url("/body")).body(body);
    let request = request.header("content-type", "application/json; charset=utf-8");
    request.send().await.unwrap()
}

async fn is_answered(response: reqwest::Response, body: &str, fault: Option<Fault>) {
    let start = &body[..body.len().min(80)];
    let Some((status, code, field, rule)) = fault else {
        assert_eq!(response.status(), 200, "{start}");
        let seen: Value = response.json().await.unwrap();
        assert_eq!(seen["body_bytes"], body.len(), "{start}");
        return;
    };
    let found = problem(response, status, code).await;
    assert_eq!(
        first_error(&found),
        (field.into(), rule.into()),
        "{start}: {found}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn media_types_sizes_and_codings_have_rules() {
    const JSON: (&str, &str) = ("content-type", "Application/JSON;x=y");
    let more = "[validation]\nmax_body_bytes = 1024\nmax_buffered_bytes = 1024\n";
    let (gateway, _) = blocking(&document(), more).await;
    let send = async |method: &str, headers: &[(&str, &str)], body: String| {
        let method: Method = method.parse().unwrap();
        let mut request = client().request(method, gateway.url("/body")).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    };
    let order = || "{\"email\": \"a@b.c\", \"items\": [{\"count\": 1}]}".to_owned();
    assert_eq!(send("POST", &[JSON], order()).await.status(), 200);
    for headers in [
        &[][..],
        &[("content-type", "text/plain")],
        &[("content-type", "x")],
    ] {
        let refused = send("POST", headers, order()).await;
        let body = problem(refused, 415, "unsupported_media_type").await;
        assert_eq!(
            first_error(&body),
            ("content-type".into(), "unsupported_media_type".into())
        );
    }
    // Not looked into; larger than JSON may be.
    let text = [("content-type", "text/plain")];
    assert_eq!(send("PUT", &text, "x".repeat(5_000)).await.status(), 200);
    assert_eq!(send("PUT", &[], String::new()).await.status(), 200);
    problem(send("PUT", &[JSON], "{}".into()).await, 422, "invalid_body").await;
    // The document says nothing of this body.
    assert_eq!(send("PATCH", &text, "x".into()).await.status(), 200);
    let large = format!("{}{}", order(), " ".repeat(2_000));
    problem(send("POST", &[JSON], large).await, 413, "body_too_large").await;
    let refused = send("POST", &[JSON, ("content-encoding", "gzip")], order()).await;
    assert_eq!(refused.headers()[header::ACCEPT_ENCODING], "identity");
    problem(refused, 415, "unsupported_coding").await;
    let identity = [JSON, ("content-encoding", "identity")];
    assert_eq!(send("POST", &identity, order()).await.status(), 200);
}

/// A compressed body is looked into where it is decoded.
#[tokio::test(flavor = "multi_thread")]
async fn decoded_bodies_are_compared() {
    let (address, _) = counted(echo()).await;
    let more = "validate = \"block\"\nrequest_decompression = \"decode\"";
    let settings = [
        upstream(&[address]),
        given(&document()),
        route("all", "/*", more),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let send = async |plain: &str| {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(plain.as_bytes()).unwrap();
        let request = client()
            .post(gateway.url("/body"))
            .body(encoder.finish().unwrap());
        let request = request.header("content-type", "application/json");
        request
            .header("content-encoding", "gzip")
            .send()
            .await
            .unwrap()
    };
    let order = "{\"email\": \"a@b.c\", \"items\": [{\"count\": 1}]}";
    let passed: Value = send(order).await.json().await.unwrap();
    assert_eq!(passed["body_bytes"], order.len());
    problem(send("{}").await, 422, "invalid_body").await;
}

/// The head alone is no reason to wait for: a body that does not come is a time-out.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_arrive_is_given_up() {
    let (address, count) = counted(echo()).await;
    let more = "validate = \"block\"\nbody_timeout_seconds = 1";
    let settings = [
        upstream(&[address]),
        given(&document()),
        route("all", "/*", more),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let request = "POST /body HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{";
    let response = exchange(gateway.public, request.as_bytes()).await;
    assert_eq!(response.status, 408);
    assert_eq!(count.load(Ordering::Relaxed), 0);
}

/// Over HTTP/2 a body may have no length, and it may turn out later that there is none.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_over_http2_are_compared() {
    let (gateway, count) = blocking(&document(), "[server]\nhttp2 = true\n").await;
    let order = "{\"email\": \"a@b.c\", \"items\": [{\"count\": 1}]}";
    let cases: [(Option<&str>, bool, u16); 7] = [
        (Some(order), true, 200),
        (Some(order), false, 200),
        (Some("{}"), true, 422),
        (Some("{}"), false, 422),
        (Some(""), true, 422),
        (Some(""), false, 422),
        (None, false, 422),
    ];
    for (body, has_length, expected) in cases {
        let mut request = http::Request::post("http://gateway.test/body");
        if let Some(body) = body {
            request = request.header("content-type", "application/json");
            if has_length {
                request = request.header("content-length", body.len());
            }
        }
        let status = over_http2(&gateway, request.body(()).unwrap(), body).await;
        assert_eq!(status, expected, "{body:?} {has_length}");
    }
    let get = http::Request::get("http://gateway.test/query?limit=0")
        .body(())
        .unwrap();
    assert_eq!(over_http2(&gateway, get, None).await, 400);
    assert!(count.load(Ordering::Relaxed) >= 2);
}

/// The status of the response.
async fn over_http2(gateway: &Gateway, request: http::Request<()>, body: Option<&str>) -> u16 {
    let stream = tokio::net::TcpStream::connect(gateway.public)
        .await
        .unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut send = send.ready().await.unwrap();
    let (response, mut sending) = send.send_request(request, body.is_none()).unwrap();
    if let Some(body) = body {
        sending
            .send_data(Bytes::copy_from_slice(body.as_bytes()), true)
            .unwrap();
    }
    let status = tokio::time::timeout(DEADLINE, response)
        .await
        .unwrap()
        .unwrap()
        .status();
    connection.abort();
    status.as_u16()
}

/// A replica that fails does not make a body valid: it is sent again as it was found.
#[tokio::test(flavor = "multi_thread")]
async fn a_checked_body_can_be_sent_again() {
    let dead = free_address();
    let (address, count) = counted(echo()).await;
    let settings = [
        upstream(&[dead, address]),
        given(&document()),
        route("all", "/*", "validate = \"block\""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let order = "{\"email\": \"a@b.c\", \"items\": [{\"count\": 1}]}";
    for _ in 0..4 {
        let request = client().put(gateway.url("/body")).body(order);
        let response = request
            .header("content-type", "application/json")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        let seen: Value = response.json().await.unwrap();
        assert_eq!(seen["body_bytes"], order.len());
    }
    assert_eq!(count.load(Ordering::Relaxed), 4);
}
