//! The response cache: what is answered from it, and when the upstream is asked.

use std::{cell::Cell, sync::atomic::Ordering};

use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::support::{
    Gateway, Origin, REPLY, client, eventually, held, problem, read_next, route, upstream,
};

const CACHE: &str = "[caches.c]\nmax_bytes = 1000000\nmax_object_bytes = 100000\n";

async fn start(origin: &Origin, cache: &str, more: &str) -> Gateway {
    let settings = [
        upstream(&[origin.serve().await]),
        format!("{CACHE}{cache}\n"),
        route("all", "/*", &format!("cache = \"c\"\n{more}")),
    ];
    Gateway::start(&settings.concat()).await
}

/// What a client sees of a response.
#[derive(Debug)]
struct Got {
    status: u16,
    cache: String,
    body: String,
    headers: reqwest::header::HeaderMap,
}

impl Got {
    fn is(&self, status: u16, body: &str, cache: &str) {
        assert_eq!((self.status, &*self.body), (status, body), "{self:?}");
        assert!(self.cache.starts_with(cache), "{cache}: {self:?}");
    }
}

const HIT: &str = "quartet; hit";
const MISS: &str = "quartet; fwd=uri-miss";

async fn send(gateway: &Gateway, method: &str, path: &str, headers: &[(&str, &str)]) -> Got {
    let method = method.parse().unwrap();
    let mut request = client().request(method, gateway.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    let headers = response.headers().clone();
    let cache = headers.get("cache-status");
    Got {
        status: response.status().as_u16(),
        cache: cache.map_or(String::new(), |value| value.to_str().unwrap().to_owned()),
        body: response.text().await.unwrap(),
        headers,
    }
}

async fn get(gateway: &Gateway, path: &str, reply: &str) -> Got {
    send(gateway, "GET", path, &[(REPLY, reply)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_response_is_answered_from_the_store() {
    let origin = Origin::default();
    let edits = "response_headers = { x-added = \"1\" }";
    let gateway = start(&origin, "", edits).await;
    let reply = "cache-control: max-age=60|age: 10|etag: \"a\"|x-own: 2|vary: accept";
    let first = get(&gateway, "/a?b", reply).await;
    first.is(200, "1", "quartet; fwd=uri-miss; fwd-status=200; stored");
    let second = get(&gateway, "/a?b", reply).await;
    second.is(200, "1", "quartet; hit; ttl=");
    assert_eq!(origin.count(), 1);
    let age: u64 = second.headers["age"].to_str().unwrap().parse().unwrap();
    assert!((10..20).contains(&age), "{second:?}");
    for name in [
        "etag",
        "x-own",
        "x-added",
        "content-length",
        "cache-control",
        "date",
    ] {
        assert_eq!(first.headers[name], second.headers[name], "{name}");
    }
    for name in [
        "date",
        "x-request-id",
        "traceparent",
        "content-length",
        "cache-status",
    ] {
        assert_eq!(second.headers.get_all(name).iter().count(), 1, "{name}");
    }
    assert_ne!(
        first.headers["x-request-id"],
        second.headers["x-request-id"]
    );
    // What the response varies by is another response.
    send(
        &gateway,
        "GET",
        "/a?b",
        &[(REPLY, reply), ("accept", "x/y")],
    )
    .await
    .is(200, "2", MISS);
    get(&gateway, "/a?b", reply).await.is(200, "1", HIT);
    let labels = "{service=\"gateway\",cache=\"c\",outcome=\"hit\"}";
    let hits = format!("gateway_cache_requests_total{labels}");
    assert_eq!(gateway.count(&hits).await, 2);
    let line = eventually("the hit is logged", || async {
        let lines = gateway.lines();
        lines.into_iter().find(|line| line["cache"] == "hit")
    })
    .await;
    assert_eq!((&line["path"], &line["bytes"]), (&json!("/a"), &json!(1)));
    assert!(line.get("upstream").is_none(), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_response_answers_head_ranges_and_conditions() {
    let origin = Origin::default();
    let gateway = start(&origin, "", "").await;
    let reply = "cache-control: max-age=60|etag: \"a\"|body: 0123456789|content-type: text/plain";
    get(&gateway, "/a", reply).await.is(200, "0123456789", MISS);
    let head = send(&gateway, "HEAD", "/a", &[]).await;
    head.is(200, "", HIT);
    assert_eq!(head.headers["content-length"], "10");
    let part = send(&gateway, "GET", "/a", &[("range", "bytes=2-4")]).await;
    part.is(206, "234", HIT);
    assert_eq!(part.headers["content-range"], "bytes 2-4/10");
    let beyond = send(&gateway, "GET", "/a", &[("range", "bytes=20-")]).await;
    beyond.is(416, "", HIT);
    assert_eq!(beyond.headers["content-range"], "bytes */10");
    let other = [("range", "bytes=2-4"), ("if-range", "\"b\"")];
    send(&gateway, "GET", "/a", &other)
        .await
        .is(200, "0123456789", HIT);
    let same = send(&gateway, "GET", "/a", &[("if-none-match", "W/\"a\"")]).await;
    same.is(304, "", HIT);
    assert_eq!(same.headers["etag"], "\"a\"");
    assert!(
        !same.headers.contains_key("content-length") && !same.headers.contains_key("content-type")
    );
    assert_eq!(origin.count(), 1);
    // A part of what is not stored is asked for as it is, and not stored.
    send(
        &gateway,
        "GET",
        "/b",
        &[(REPLY, reply), ("range", "bytes=2-4")],
    )
    .await;
    assert_eq!(origin.seen()[1].headers["range"], "bytes=2-4");
    get(&gateway, "/b", reply).await.is(200, "0123456789", MISS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_response_is_revalidated() {
    let origin = Origin::default();
    let gateway = start(&origin, "", "").await;
    let stale = "cache-control: max-age=5|age: 9|etag: \"a\"";
    get(&gateway, "/a", stale).await.is(200, "1", MISS);
    let fresh = "cache-control: max-age=50|etag: \"a\"|x-new: 1";
    let revalidated = get(&gateway, "/a", fresh).await;
    revalidated.is(200, "1", "quartet; fwd=stale; fwd-status=304");
    assert_eq!(revalidated.headers["x-new"], "1");
    assert_eq!(origin.seen()[1].headers["if-none-match"], "\"a\"");
    get(&gateway, "/a", fresh).await.is(200, "1", HIT);
    // The client's condition is compared with what is stored, and demands make the upstream decide.
    let demand = [
        (REPLY, fresh),
        ("cache-control", "no-cache"),
        ("if-none-match", "\"a\""),
    ];
    send(&gateway, "GET", "/a", &demand)
        .await
        .is(304, "", "quartet; fwd=request");
    let changed = [
        (REPLY, "cache-control: max-age=50|etag: \"b\""),
        ("pragma", "no-cache"),
    ];
    send(&gateway, "GET", "/a", &changed)
        .await
        .is(200, "4", "quartet; fwd=request");
    get(&gateway, "/a", fresh).await.is(200, "4", HIT);
    let wants = |value| [(REPLY, fresh), ("cache-control", value)];
    send(&gateway, "GET", "/a", &wants("only-if-cached"))
        .await
        .is(200, "4", HIT);
    let response = client()
        .get(gateway.url("/none"))
        .header("cache-control", "only-if-cached");
    problem(response.send().await.unwrap(), 504, "not_cached").await;
    send(&gateway, "GET", "/a", &wants("max-age=0"))
        .await
        .is(200, "5", "quartet; fwd=request");
    assert_eq!(origin.count(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_response_replaces_failures_if_it_says_so() {
    let origin = Origin::default();
    let gateway = start(&origin, "", "").await;
    let stale = "cache-control: max-age=5, stale-if-error=60|age: 9|etag: \"a\"";
    let strict = "cache-control: max-age=5, stale-if-error=60, must-revalidate|age: 9|etag: \"a\"";
    get(&gateway, "/a", stale).await.is(200, "1", MISS);
    get(&gateway, "/b", strict).await.is(200, "2", MISS);
    origin.fails.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        get(&gateway, "/a", stale).await.is(200, "1", HIT);
    }
    assert_eq!(get(&gateway, "/b", strict).await.status, 503);
    assert_eq!(origin.count(), 6, "the upstream is asked each time");
    // The upstream is gone.
    let settings = [
        upstream(&[crate::support::free_address()]),
        CACHE.to_owned(),
        route("all", "/*", "cache = \"c\""),
    ];
    gateway.reload(&settings.concat()).await;
    get(&gateway, "/a", stale).await.is(200, "1", HIT);
    assert_eq!(get(&gateway, "/b", strict).await.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_response_is_sent_while_it_is_revalidated() {
    let origin = Origin::default();
    let gateway = start(&origin, "", "").await;
    let stale = "cache-control: max-age=5, stale-while-revalidate=60|age: 9";
    get(&gateway, "/a", stale).await.is(200, "1", MISS);
    let next = "cache-control: max-age=50";
    get(&gateway, "/a", next).await.is(200, "1", HIT);
    eventually("the response is fresh", || async {
        let got = get(&gateway, "/a", next).await;
        (got.body == "2" && got.cache.starts_with(HIT)).then_some(())
    })
    .await;
    assert_eq!(origin.count(), 2);
    assert_eq!(origin.seen()[1].method, "GET");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsafe_request_makes_its_url_invalid() {
    let origin = Origin::default();
    let settings = [
        upstream(&[origin.serve().await]),
        CACHE.to_owned(),
        route("read", "/*", "cache = \"c\"\nmethods = [\"GET\"]"),
        route("write", "/*", "methods = [\"POST\", \"DELETE\"]"),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let reply = "cache-control: max-age=60";
    for path in ["/a", "/b", "/c"] {
        get(&gateway, path, reply).await;
        assert!(get(&gateway, path, reply).await.cache.starts_with(HIT));
    }
    send(&gateway, "POST", "/a", &[(REPLY, "location: /b")]).await;
    send(&gateway, "DELETE", "/c", &[(REPLY, "status: 404")]).await;
    for (path, cache) in [("/a", MISS), ("/b", MISS), ("/c", HIT)] {
        let got = get(&gateway, path, reply).await;
        assert!(got.cache.starts_with(cache), "{path}: {got:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_purged_by_url_prefix_tag_or_all() {
    let origin = Origin::default();
    let gateway = start(&origin, "", "").await;
    let fill = async |tags: &str| {
        for path in ["/a/1", "/a/2?x", "/b"] {
            let reply = format!("cache-control: max-age=60|cache-tag: {tags}{path}");
            let got = get(&gateway, path, &reply).await;
            assert!(!got.headers.contains_key("cache-tag"), "{got:?}");
        }
        ["/a/1", "/a/2?x", "/b"]
    };
    let host = gateway.public;
    let purge = async |body: serde_json::Value| {
        let url = format!("http://{}/caches/purge", gateway.admin);
        client().post(url).json(&body).send().await.unwrap()
    };
    for (body, count, left) in [
        (
            json!({ "url": format!("http://{host}//a/%31") }),
            1,
            "/a/2?x /b",
        ),
        (json!({ "prefix": format!("http://{host}/a/") }), 2, "/b"),
        (json!({ "tag": "t2" }), 3, ""),
        (json!({ "tag": "/b", "cache": "c" }), 1, "/a/1 /a/2?x"),
        (json!({ "all": true }), 3, ""),
    ] {
        let paths = fill("t1, t2, ").await;
        let response = purge(body.clone()).await;
        assert_eq!(response.status(), 200, "{body}");
        let found: serde_json::Value = response.json().await.unwrap();
        assert_eq!(found, json!({ "purged": count }), "{body}");
        for path in paths {
            let got = get(&gateway, path, "cache-control: no-store").await;
            let is_left = left.split(' ').any(|left| left == path);
            assert_eq!(
                got.cache.starts_with(HIT),
                is_left,
                "{body} {path}: {got:?}"
            );
        }
    }
    for body in [
        json!({}),
        json!({ "all": true, "tag": "a" }),
        json!({ "all": true, "cache": "x" }),
        json!({ "url": format!("HTTP://{host}/a/1") }),
    ] {
        let refused = purge(body).await;
        assert_eq!(refused.status(), 422);
        let refused: serde_json::Value = refused.json().await.unwrap();
        assert_eq!(refused["code"], "invalid_body", "{refused}");
    }
    let caches: serde_json::Value = gateway.admin("/caches").await.json().await.unwrap();
    assert_eq!(caches["caches"][0]["name"], "c");
    assert_eq!(caches["caches"][0]["max_bytes"], 1_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_requests_at_once_are_one_for_the_upstream() {
    let (address, permits) = held().await;
    let settings = [
        upstream(&[address]),
        format!("{CACHE}ttl_seconds = 60\n"),
        route("all", "/*", "cache = \"c\""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let all = tokio::spawn({
        let url = gateway.url("/held");
        async move {
            let requests = (0..20).map(|_| client().get(&url).send());
            join_all(requests).await
        }
    });
    active(&gateway, 20.0).await;
    permits.add_permits(1);
    let mut collapsed = 0;
    for response in all.await.unwrap() {
        let response = response.unwrap();
        let status = response.headers()["cache-status"]
            .to_str()
            .unwrap()
            .to_owned();
        collapsed += usize::from(status.contains("collapsed"));
        assert_eq!(response.text().await.unwrap(), "released");
    }
    assert_eq!(collapsed, 19, "one permit was enough for all");
}

/// Waits until this number of requests are in flight.
async fn active(gateway: &Gateway, count: f64) {
    let name = "http_server_active_requests{service=\"gateway\",http_request_method=\"GET\"}";
    eventually("the requests are in flight", || async {
        (gateway.metric(name).await >= count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_hands_its_place_over() {
    let (address, permits) = held().await;
    let settings = [
        upstream(&[address]),
        format!("{CACHE}ttl_seconds = 60\n"),
        // The connection is watched, as it is for a stream.
        route("all", "/*", "cache = \"c\"\nresponse_timeout_seconds = 0"),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let first = tokio::spawn(client().get(gateway.url("/held")).send());
    active(&gateway, 1.0).await;
    let second = tokio::spawn(client().get(gateway.url("/held")).send());
    active(&gateway, 2.0).await;
    first.abort();
    let _ = first.await;
    // One permit may be lost to the request that was given up.
    permits.add_permits(2);
    let response = second.await.unwrap().unwrap();
    assert_eq!(response.text().await.unwrap(), "released");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_only_so_long_for_another_one() {
    let (address, permits) = held().await;
    let settings = [
        upstream(&[address]),
        format!("{CACHE}ttl_seconds = 60\nfill_wait_ms = 50\n"),
        route("all", "/*", "cache = \"c\""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let requests = (0..2).map(|_| tokio::spawn(client().get(gateway.url("/held")).send()));
    let requests: Vec<_> = requests.collect();
    active(&gateway, 2.0).await;
    // Both need one: the second one asks on its own.
    permits.add_permits(2);
    for request in requests {
        assert_eq!(
            request.await.unwrap().unwrap().text().await.unwrap(),
            "released"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_refuses_a_request_runs_before_the_cache() {
    let origin = Origin::default();
    let limit = "[limits.l]\nrequests = 2\nwindow_seconds = 60\n";
    let gateway = start(&origin, limit, "limit = \"l\"").await;
    let reply = "cache-control: max-age=60";
    get(&gateway, "/a", reply).await.is(200, "1", MISS);
    let hit = get(&gateway, "/a", reply).await;
    hit.is(200, "1", HIT);
    assert!(
        hit.headers["ratelimit"].to_str().unwrap().contains("r=0"),
        "{hit:?}"
    );
    assert_eq!(get(&gateway, "/a", reply).await.status, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_stay_over_a_reload_and_are_not_shared_by_routes() {
    let origin = Origin::default();
    let address = origin.serve().await;
    let settings = |more: &str| {
        [
            upstream(&[address]),
            format!("{CACHE}{more}\n"),
            route("all", "/*", "cache = \"c\""),
            route("beta", "/*", "cache = \"c\"\nheaders = { x-beta = \"1\" }"),
        ]
        .concat()
    };
    let gateway = Gateway::start(&settings("")).await;
    let reply = "cache-control: max-age=60";
    get(&gateway, "/a", reply).await.is(200, "1", MISS);
    let beta = [(REPLY, reply), ("x-beta", "1")];
    send(&gateway, "GET", "/a", &beta).await.is(200, "2", MISS);
    gateway.reload(&settings("ttl_seconds = 5")).await;
    get(&gateway, "/a", reply).await.is(200, "1", HIT);
    send(&gateway, "GET", "/a", &beta).await.is(200, "2", HIT);
    let error = gateway
        .refused_reload(&settings("ttl_seconds = 31536001"))
        .await;
    assert!(error.contains("caches.c.ttl_seconds"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn http1_and_http2_share_responses() {
    let origin = Origin::default();
    let settings = [
        upstream(&[origin.serve().await]),
        format!("[server]\nhttp2 = true\n{CACHE}"),
        route("all", "/*", "cache = \"c\""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let reply = "cache-control: max-age=60|vary: cookie";
    let cookies = [(REPLY, reply), ("cookie", "a=1; b=2")];
    send(&gateway, "GET", "/a", &cookies)
        .await
        .is(200, "1", MISS);
    let stream = TcpStream::connect(gateway.public).await.unwrap();
    let (send_request, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(gateway.url("/a"))
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(())
        .unwrap();
    let mut send_request: h2::client::SendRequest<Bytes> = send_request.ready().await.unwrap();
    let (response, _) = send_request.send_request(request, true).unwrap();
    let response = response.await.unwrap();
    let status = response.headers()["cache-status"].to_str().unwrap();
    assert!(status.starts_with(HIT), "{response:?}");
    assert_eq!(origin.count(), 1);
}

/// What takes the place of a response is whole, so the connection serves the next request.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_keeps_its_connection_when_a_stored_response_is_sent() {
    let origin = Origin::default();
    let gateway = start(&origin, "", "").await;
    let stale = "cache-control: max-age=5, stale-if-error=60|age: 9|etag: \"a\"";
    get(&gateway, "/a", stale).await.is(200, "1", MISS);
    let mut stream = TcpStream::connect(gateway.public).await.unwrap();
    let mut rest = Vec::new();
    let mut ask = async |more: &str| {
        let head = format!("GET /a HTTP/1.1\r\nhost: {}\r\n{more}\r\n", gateway.public);
        stream.write_all(head.as_bytes()).await.unwrap();
        read_next(&mut stream, &mut rest).await
    };
    for round in 0..3 {
        // Revalidated with 304, and then in place of a failure.
        origin.fails.store(round == 2, Ordering::Relaxed);
        let response = ask(&format!("{REPLY}: {stale}\r\n")).await;
        assert_eq!(
            (response.status, &*response.body),
            (200, "1"),
            "{round}: {response:?}"
        );
        assert!(!response.head.contains("connection: close"), "{response:?}");
    }
    let last = ask("connection: close\r\n").await;
    assert!(last.head.contains("connection: close"), "{last:?}");
    assert_eq!(origin.count(), 5);
}

/// Also on routes that the direct path does not serve.
#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_response_is_revalidated_while_it_is_sent() {
    let origin = Origin::default();
    let gateway = start(&origin, "", "compress = true").await;
    let text = "0123456789".repeat(200);
    let stale = format!(
        "cache-control: max-age=5, stale-while-revalidate=60|age: 9|content-type: text/plain|body: {text}"
    );
    let next = "cache-control: max-age=50";
    let encoded = |reply: &str| {
        [
            (REPLY, reply.to_owned()),
            ("accept-encoding", "gzip".to_owned()),
        ]
    };
    let sent = Cell::new(0);
    let ask = async |reply: &str| {
        let headers = encoded(reply);
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        sent.update(|sent| sent + 1);
        send(&gateway, "GET", "/a", &headers).await
    };
    let first = ask(&stale).await;
    assert_eq!(first.headers["content-encoding"], "gzip");
    let second = ask(next).await;
    assert!(second.cache.starts_with(HIT), "{second:?}");
    assert_eq!(second.headers["content-encoding"], "gzip");
    eventually("the response is fresh", || async {
        let got = ask(next).await;
        (got.body == "2" && got.cache.starts_with(HIT)).then_some(())
    })
    .await;
    assert_eq!(origin.count(), 2, "no one but the gateway has asked");
    // It is no request of a client: it has no line in the log.
    let lines = eventually("every request is logged", || async {
        let lines = gateway.lines().into_iter();
        let lines: Vec<_> = lines.filter(|line| line["path"] == "/a").collect();
        (lines.len() == sent.get()).then_some(lines)
    })
    .await;
    let asked = lines.iter().filter(|line| line["upstream"].is_string());
    assert_eq!(asked.count(), 1, "{lines:?}");
}
