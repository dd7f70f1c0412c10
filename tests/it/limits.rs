//! Rate limits, size limits and timeouts.

use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::harness::{Client, Options, Response, Stack, User, files, graphql, raw};

/// The documented limits: name, requests per minute.
const CORE: (&str, usize) = ("core", 100);
const MEDIA: (&str, usize) = ("media", 50);
const LINKS: (&str, usize) = ("links", 100);
const REDIRECTS: (&str, usize) = ("redirects", 600);

/// The window of a minute moves in slices of three seconds, so it may be one slice longer.
const RETRY_SECONDS: std::ops::RangeInclusive<u64> = 1..=63;

/// Sends `count` requests, several at a time.
async fn burst(client: &Client, method: Method, path: &str, count: usize) -> Vec<Response> {
    let mut answers = Vec::new();
    while answers.len() < count {
        let width = (count - answers.len()).min(10);
        let calls = (0..width).map(|_| {
            let call = client.call(method.clone(), path);
            if method == Method::POST {
                call.json(&json!({ "query": "{ __typename }" })).send()
            } else {
                call.send()
            }
        });
        answers.extend(join_all(calls).await);
    }
    answers
}

fn parameter(header: &str, name: &str) -> u64 {
    let found = header
        .split(';')
        .find_map(|part| part.strip_prefix(&format!("{name}=")));
    found
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {header}"))
}

/// The member of a list of limits that is of this name: a service may add limits of its own.
fn member<'a>(answer: &'a Response, name: &str) -> &'a str {
    let start = format!("\"{name}\";");
    let lines = answer.headers.get_all("ratelimit").into_iter();
    let mut members = lines.flat_map(|line| line.to_str().unwrap().split(',').map(str::trim));
    members
        .find(|member| member.starts_with(&start))
        .unwrap_or_else(|| panic!("no limit {name}: {answer:?}"))
}

fn check_limited(answer: &Response, (name, quota): (&str, usize)) {
    let body = answer.clone().problem(429, "rate_limited");
    assert!(
        body["detail"]
            .as_str()
            .unwrap()
            .contains(&quota.to_string()),
        "{body}"
    );
    let policy = answer.header("ratelimit-policy").unwrap();
    assert_eq!(policy, format!("\"{name}\";q={quota};w=60"));
    let state = answer.header("ratelimit").unwrap();
    assert!(state.starts_with(&format!("\"{name}\";")), "{state}");
    assert_eq!(parameter(state, "r"), 0);
    let retry: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!(RETRY_SECONDS.contains(&retry), "{retry}");
    assert!(RETRY_SECONDS.contains(&parameter(state, "t")), "{state}");
}

/// Exactly the quota passes, and everything beyond it is a 429.
async fn exhaust(client: &Client, method: Method, path: &str, limit: (&str, usize)) {
    let answers = burst(client, method, path, limit.1 + 15).await;
    let (limited, passed): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 429);
    assert_eq!(passed.len(), limit.1, "{path}: the quota is exact");
    let mut left: Vec<_> = passed
        .iter()
        .map(|answer| parameter(member(answer, limit.0), "r"))
        .collect();
    left.sort_unstable();
    assert_eq!(
        left,
        (0..limit.1 as u64).collect::<Vec<_>>(),
        "{path}: every count once"
    );
    for answer in &limited {
        check_limited(answer, limit);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limits_are_exact_and_per_user() {
    let stack = Stack::start(Options::default().shipped_limits()).await;
    let ada = User::sign_up(&stack.client()).await;
    let eve = User::sign_up(&stack.client()).await;
    exhaust(&ada.client, Method::GET, "/v1/core/users/me", CORE).await;
    exhaust(&ada.client, Method::GET, "/v1/media/assets", MEDIA).await;
    exhaust(&ada.client, Method::POST, graphql::PATH, LINKS).await;
    // Another user with the same client IP has a quota of her own, and so has the IP.
    eve.client.get("/v1/core/users/me").await.expect(200);
    eve.client.get("/v1/media/assets").await.expect(200);
    User::sign_up(&stack.client()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anonymous_rate_limits_are_per_client_ip() {
    let stack = Stack::start(Options::default().shipped_limits()).await;
    let visitor = stack
        .client()
        .with_client_ip(Ipv4Addr::new(127, 0, 0, 21).into());
    exhaust(&visitor, Method::GET, "/s/not-there", REDIRECTS).await;
    let other = stack
        .client()
        .with_client_ip(Ipv4Addr::new(127, 0, 0, 22).into());
    other
        .get("/s/not-there")
        .await
        .problem(404, "link_not_found");
    // Other limits are not affected.
    visitor.get("/openapi.json").await.expect(200);
    // Invalid tokens do not get a quota of their own: they are refused, and counted.
    let guesser = stack
        .client()
        .with_client_ip(Ipv4Addr::new(127, 0, 0, 23).into());
    let answers = burst(
        &guesser.with_token("guess"),
        Method::GET,
        "/v1/media/assets",
        MEDIA.1 + 5,
    )
    .await;
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer.status, 401 | 429))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_return_413_and_write_nothing() {
    let stack = Stack::small().await;
    let ada = User::sign_up(&stack.client()).await;
    let before = stack.database().row_counts();
    let huge = json!({ "file_name": "x".repeat(1024 * 1024) }).to_string();
    for path in ["/v1/media/presign", "/v1/core/users", graphql::PATH] {
        let call = ada
            .client
            .call(Method::POST, path)
            .header("content-type", "application/json");
        call.body(huge.clone())
            .send()
            .await
            .problem(413, "body_too_large");
        // Without a length that could be looked at first.
        let chunks = vec![huge[..600_000].to_owned(), huge[600_000..].to_owned()];
        let stream = futures_util::stream::iter(chunks.into_iter().map(std::io::Result::Ok));
        let call = ada
            .client
            .call(Method::POST, path)
            .header("content-type", "application/json");
        let call = call.body(reqwest::Body::wrap_stream(stream));
        call.send().await.problem(413, "body_too_large");
    }
    assert_eq!(stack.database().row_counts(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_heads_return_431() {
    let stack = Stack::start(Options::gateway_only()).await;
    let head = "GET /health HTTP/1.1\r\nhost: gateway\r\n";
    let long_header = format!("{head}x-long: {}\r\n\r\n", "a".repeat(80_000));
    let long_path = format!(
        "GET /{} HTTP/1.1\r\nhost: gateway\r\n\r\n",
        "a".repeat(80_000)
    );
    let many: Vec<_> = (0..150)
        .map(|number| format!("x-{number}: 1\r\n"))
        .collect();
    let many = format!("{head}{}\r\n", many.concat());
    for request in [long_header, long_path, many] {
        let body = raw::exchange(stack.gateway(), &request).await.problem(431);
        assert_eq!(body["code"], "headers_too_large");
    }
    stack.client().get("/health").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_get_408_and_write_nothing() {
    let options = Options::default()
        .set("gateway", "server.header_timeout_seconds", "1")
        .set("gateway", "defaults.body_timeout_seconds", "1");
    let stack = Stack::start(options).await;
    let ada = User::sign_up(&stack.client()).await;
    let before = stack.database().row_counts();

    let mut half_a_head = raw::connect(stack.gateway()).await;
    half_a_head
        .write_all(b"GET /health HTTP/1.1\r\nhost: gate")
        .await
        .unwrap();
    raw::read(&mut half_a_head).await.problem(408);

    let whole = raw::post_json(
        "/v1/media/presign",
        Some(ada.client.token()),
        &files::presign_body("public"),
    );
    let mut half_a_body = raw::connect(stack.gateway()).await;
    half_a_body
        .write_all(&whole.as_bytes()[..whole.len() - 20])
        .await
        .unwrap();
    raw::read(&mut half_a_body).await.problem(408);
    assert_eq!(stack.database().row_counts(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_upstreams_return_504() {
    let echo = crate::harness::Echo::start().await;
    let settings = echo.settings().replace(
        "[routes.echo_public]\n",
        "[routes.echo_public]\nresponse_timeout_seconds = 1\n",
    );
    let stack = Stack::start(Options::gateway_only().gateway(&settings)).await;
    let begin = std::time::Instant::now();
    let slow = stack
        .client()
        .call(Method::POST, "/echo/public/a")
        .header("x-pause-ms", "10000");
    slow.send().await.problem(504, "upstream_timeout");
    assert!(begin.elapsed() < Duration::from_secs(8));
    drop(echo);
    let gone = stack
        .client()
        .call(Method::GET, "/echo/public/a")
        .send()
        .await;
    assert!(matches!(gone.status, 502 | 503), "{gone:?}");
}
