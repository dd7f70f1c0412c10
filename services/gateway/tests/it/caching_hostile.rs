//! The response cache against those who would fill it with something for others.

use std::sync::{Arc, atomic::Ordering};

use axum::{Router, extract::Request, http::HeaderMap, routing::any};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::Semaphore,
};

use crate::support::{
    Gateway, Origin, REPLY, client, eventually, exchange, route, serve, upstream,
};

async fn start(origin: &Origin, cache: &str) -> Gateway {
    let settings = [
        upstream(&[origin.serve().await]),
        format!("[caches.c]\nmax_object_bytes = 2048\n{cache}\n"),
        route("all", "/*", "cache = \"c\""),
    ];
    Gateway::start(&settings.concat()).await
}

/// Whether the response comes from the store, and its body.
async fn ask(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> (bool, String) {
    let mut request = client().get(gateway.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    let status = response.headers().get("cache-status");
    let hit = status.is_some_and(|value| value.to_str().unwrap().starts_with("quartet; hit"));
    (hit, response.text().await.unwrap())
}

const FRESH: (&str, &str) = (REPLY, "cache-control: max-age=60");

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_one_client_is_not_stored() {
    let origin = Origin::default();
    let gateway = start(&origin, "").await;
    for (at, (reply, sent)) in [
        ("cache-control: max-age=60, private", None),
        ("cache-control: max-age=60, private=\"x\"", None),
        ("cache-control: max-age=60, no-store", None),
        ("cache-control: max-age=60|set-cookie: a=1", None),
        ("cache-control: max-age=60|vary: *", None),
        ("cache-control: max-age=60|vary: x-user-id", None),
        ("cache-control: max-age=60|vary: X-Forwarded-For", None),
        (
            "cache-control: max-age=60|status: 206|content-range: bytes 0-0/9",
            None,
        ),
        (
            "cache-control: max-age=60",
            Some(("authorization", "Basic YTpi")),
        ),
        (
            "cache-control: max-age=60",
            Some(("cache-control", "no-store")),
        ),
        ("etag: \"a\"", None),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/{at}");
        let headers: Vec<_> = [(REPLY, reply)].into_iter().chain(sent).collect();
        assert!(!ask(&gateway, &path, &headers).await.0, "{reply} {sent:?}");
        assert!(!ask(&gateway, &path, &headers).await.0, "{reply} {sent:?}");
        let other = [(REPLY, "cache-control: no-store")];
        assert!(!ask(&gateway, &path, &other).await.0, "{reply} {sent:?}");
    }
    // What was stored for all is not for a client that says who it is, unless the response says so.
    let known = ("authorization", "Basic YTpi");
    let public = (REPLY, "cache-control: max-age=60, public");
    for (path, reply, expected) in [("/x", FRESH, false), ("/y", public, true)] {
        ask(&gateway, path, &[reply]).await;
        assert!(ask(&gateway, path, &[reply]).await.0);
        assert_eq!(
            ask(&gateway, path, &[reply, known]).await.0,
            expected,
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_are_stripped_from_what_is_stored_if_configured() {
    let origin = Origin::default();
    let gateway = start(&origin, "set_cookie = \"strip\"").await;
    let reply = [(REPLY, "cache-control: max-age=60|set-cookie: a=1")];
    assert!(!ask(&gateway, "/a", &reply).await.0);
    let response = client().get(gateway.url("/a")).send().await.unwrap();
    assert!(
        !response.headers().contains_key("set-cookie"),
        "{response:?}"
    );
    assert!(ask(&gateway, "/a", &reply).await.0);
}

/// The settings say how long pages are kept that say nothing themselves; one that was made for a client
/// with cookies may be for that client.
#[tokio::test(flavor = "multi_thread")]
async fn cookies_part_what_is_stored_by_default() {
    let origin = Origin::default();
    let gateway = start(&origin, "ttl_seconds = 60\nkey_cookies = [\"lang\"]").await;
    let (known, lang) = (("cookie", "lang=en; session=1"), ("cookie", "lang=en"));
    for (path, reply, sent, stored) in [
        ("/silent", "x-a: 1", known, false),
        ("/listed", "x-a: 1", lang, true),
        ("/explicit", "cache-control: max-age=60", known, true),
        ("/parted", "vary: cookie", known, true),
    ] {
        let headers = [(REPLY, reply), sent];
        assert!(!ask(&gateway, path, &headers).await.0, "{path}");
        assert_eq!(ask(&gateway, path, &headers).await.0, stored, "{path}");
    }
    let other = [(REPLY, "x-a: 1"), ("cookie", "lang=en; session=2")];
    assert!(!ask(&gateway, "/silent", &other).await.0);
    assert!(!ask(&gateway, "/parted", &other).await.0);
}

/// Some upstreams allow the origin that asks, and leave `Vary` out: the page of another origin could not
/// read what is stored.
#[tokio::test(flavor = "multi_thread")]
async fn responses_for_one_origin_are_for_that_origin() {
    let origin = Origin::default();
    let gateway = start(&origin, "").await;
    let of = |page: &'static str| {
        let reply = "cache-control: max-age=60|access-control-allow-origin: https://a.example";
        [(REPLY, reply), ("origin", page)]
    };
    for page in ["https://a.example", "https://b.example"] {
        assert!(!ask(&gateway, "/a", &of(page)).await.0, "{page}");
        assert!(ask(&gateway, "/a", &of(page)).await.0, "{page}");
    }
    let any = (
        REPLY,
        "cache-control: max-age=60|access-control-allow-origin: *",
    );
    assert!(
        !ask(&gateway, "/b", &[any, ("origin", "https://a.example")])
            .await
            .0
    );
    assert!(
        ask(&gateway, "/b", &[any, ("origin", "https://b.example")])
            .await
            .0
    );
}

/// A client that the upstream refuses does not take the response away from others.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_replaces_nothing_that_is_stored() {
    let origin = Origin::default();
    let gateway = start(&origin, "").await;
    let stale = "cache-control: max-age=5, stale-if-error=60|age: 9|x-stored: 1";
    ask(&gateway, "/a", &[(REPLY, stale)]).await;
    for status in ["429", "400", "403"] {
        let refused = format!("cache-control: max-age=60, no-store|status: {status}");
        assert!(!ask(&gateway, "/a", &[(REPLY, &refused)]).await.0);
    }
    let limited = "cache-control: max-age=60, public|status: 429";
    for _ in 0..2 {
        assert!(!ask(&gateway, "/a", &[(REPLY, limited)]).await.0);
    }
    origin.fails.store(true, Ordering::Relaxed);
    assert_eq!(ask(&gateway, "/a", &[]).await, (true, "1".to_owned()));
}

/// Headers that are not in the key must not reach an upstream that might answer by them.
#[tokio::test(flavor = "multi_thread")]
async fn headers_without_a_place_in_the_key_do_not_choose_the_response() {
    let origin = Origin::default();
    let gateway = start(&origin, "").await;
    let mut count = 0;
    for name in [
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "forwarded",
        "x-original-url",
        "x-rewrite-url",
        "x-original-uri",
        "x-host",
        "x-http-host-override",
        "x-http-method-override",
    ] {
        let path = format!("/{name}");
        ask(&gateway, &path, &[FRESH, (name, "evil.example")]).await;
        count += 1;
        let seen = origin.seen().pop().unwrap();
        let value = seen.headers.get(name);
        assert!(
            value.is_none_or(|value| value != "evil.example"),
            "{seen:?}"
        );
        assert!(ask(&gateway, &path, &[FRESH]).await.0, "{name}");
    }
    assert_eq!(origin.count(), count);
}

/// A header that `Connection` names does not reach the upstream. What it answers without one must not
/// be found by those who send it.
#[tokio::test(flavor = "multi_thread")]
async fn headers_that_are_taken_away_do_not_part_responses() {
    let origin = Origin::default();
    let gateway = start(&origin, "key_headers = [\"x-tenant\"]").await;
    for name in ["x-variant", "x-tenant"] {
        let path = format!("/{name}");
        let request = |connection: &str| {
            format!(
                "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: {connection}\r\n{name}: 1\r\n\
                 {REPLY}: cache-control: max-age=60|vary: x-variant\r\n\r\n"
            )
        };
        let taken = request(&format!("close, {}", name.to_uppercase()));
        let taken = exchange(gateway.public, taken.as_bytes()).await;
        assert!(taken.head.contains("fwd=bypass"), "{taken:?}");
        let seen = origin.seen().pop().unwrap();
        assert!(!seen.headers.contains_key(name), "{seen:?}");
        let sent = exchange(gateway.public, request("close").as_bytes()).await;
        assert!(sent.head.contains("fwd=uri-miss"), "{sent:?}");
        let seen = origin.seen().pop().unwrap();
        assert_eq!(seen.headers[name], "1");
        let again = exchange(gateway.public, request("keep-alive, close").as_bytes()).await;
        assert_eq!(
            (&*again.body, again.head.contains("quartet; hit")),
            (&*sent.body, true)
        );
        // Nor is it answered from there.
        let taken = request(&format!("close, {name}"));
        let taken = exchange(gateway.public, taken.as_bytes()).await;
        assert_ne!(taken.body, sent.body);
    }
}

/// From a trusted proxy they reach the upstream, so they are in the key.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_trusted_proxy_says_is_in_the_key() {
    let origin = Origin::default();
    let settings = [
        upstream(&[origin.serve().await]),
        "[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\n[caches.c]\n".to_owned(),
        route("all", "/*", "cache = \"c\""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let says = |name, value| [FRESH, (name, value)];
    for sent in [
        says("x-forwarded-host", "a.example"),
        says("x-forwarded-host", "b.example"),
        says("x-forwarded-proto", "https"),
    ] {
        assert!(!ask(&gateway, "/a", &sent).await.0, "{sent:?}");
        assert!(ask(&gateway, "/a", &sent).await.0, "{sent:?}");
    }
    assert!(!ask(&gateway, "/a", &[FRESH]).await.0);
}

/// Parameters that one server sees and another does not, and paths that look alike.
#[tokio::test(flavor = "multi_thread")]
async fn every_spelling_of_a_query_is_a_key_of_its_own() {
    let origin = Origin::default();
    let gateway = start(&origin, "").await;
    let paths = [
        "/a",
        "/a?",
        "/a?x=1",
        "/a?x=1&",
        "/a?x=1;y=2",
        "/a?x=1&y=2",
        "/a?y=2&x=1",
        "/a?x=%31",
        "/a?X=1",
        "/A?x=1",
        "/a/?x=1",
        "/a?x=1&x=2",
        "/a?x=2&x=1",
        "/a?x=1%00",
        "/a?x=1%26y=2",
        "/a.css?x=1",
        "/a/b.css",
    ];
    for path in paths {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{}: {}\r\n\r\n",
            FRESH.0, FRESH.1
        );
        let response = exchange(gateway.public, request.as_bytes()).await;
        assert_eq!(response.status, 200, "{response:?}");
        assert!(
            response.head.contains("fwd=uri-miss"),
            "{path}: {response:?}"
        );
    }
    // One spelling of a path is one key.
    for path in ["//a", "/%61", "/a"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: A.\r\nconnection: close\r\n\r\n");
        let response = exchange(gateway.public, request.as_bytes()).await;
        assert!(
            response.head.contains("quartet; hit"),
            "{path}: {response:?}"
        );
    }
    assert_eq!(origin.count(), paths.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_with_a_body_is_neither_answered_nor_stored() {
    let origin = Origin::default();
    let gateway = start(&origin, "").await;
    for body in [
        "content-length: 3\r\n\r\nx=1",
        "transfer-encoding: chunked\r\n\r\n3\r\nx=1\r\n0\r\n\r\n",
    ] {
        let request = format!(
            "GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{}: {}\r\n{body}",
            FRESH.0, FRESH.1
        );
        let response = exchange(gateway.public, request.as_bytes()).await;
        assert!(response.head.contains("fwd=bypass"), "{response:?}");
    }
    let plain = format!(
        "GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{}: {}\r\n\r\n",
        FRESH.0, FRESH.1
    );
    let response = exchange(gateway.public, plain.as_bytes()).await;
    assert!(response.head.contains("fwd=uri-miss"), "{response:?}");
    assert_eq!(response.body, "3");
}

/// An upstream that answers each connection with the next of these texts, and closes it.
async fn scripted(responses: &'static [&'static str]) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for response in responses {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            while !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
                stream.read_buf(&mut bytes).await.unwrap();
            }
            stream.write_all(response.as_bytes()).await.unwrap();
        }
    });
    address
}

/// What ends early, or has no end, is no response for others.
#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_is_not_complete_is_not_stored() {
    const RESPONSES: [&str; 4] = [
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 9\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n",
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n\r\nwithout an end",
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\nconnection: close\r\ncontent-length: 5\r\n\r\nwhole",
    ];
    let settings = [
        upstream(&[scripted(&RESPONSES).await]),
        "[caches.c]\n".to_owned(),
        route("all", "/*", "cache = \"c\""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    for _ in 0..3 {
        let response = client().get(gateway.url("/a")).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let _ = response.bytes().await;
    }
    assert_eq!(ask(&gateway, "/a", &[]).await, (false, "whole".to_owned()));
    assert_eq!(ask(&gateway, "/a", &[]).await, (true, "whole".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_beyond_the_bounds_pass_and_are_not_stored() {
    let origin = Origin::default();
    let gateway = start(&origin, "max_variants = 2").await;
    let body = "x".repeat(3000);
    let large = format!("cache-control: max-age=60|body: {body}");
    for _ in 0..2 {
        assert_eq!(
            ask(&gateway, "/body", &[(REPLY, &large)]).await,
            (false, body.clone())
        );
    }
    let head = format!("cache-control: max-age=60|x-large: {body}");
    for _ in 0..2 {
        assert!(!ask(&gateway, "/head", &[(REPLY, &head)]).await.0);
    }
    // Of many variants, the latest are kept.
    let vary = (REPLY, "cache-control: max-age=60|vary: x-variant");
    for variant in ["1", "2", "3"] {
        assert!(
            !ask(&gateway, "/vary", &[vary, ("x-variant", variant)])
                .await
                .0
        );
    }
    for (variant, kept) in [("3", true), ("2", true), ("1", false)] {
        let found = ask(&gateway, "/vary", &[vary, ("x-variant", variant)])
            .await
            .0;
        assert_eq!(found, kept, "{variant}");
    }
}

/// Answers conditions with 304 once it may, and says in the body how many requests there were.
async fn revalidating() -> (std::net::SocketAddr, Arc<Semaphore>, Arc<Semaphore>) {
    let (asked, released) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (seen, wait) = (Arc::clone(&asked), Arc::clone(&released));
    let router = Router::new().fallback(any(move |request: Request| {
        let (seen, wait) = (Arc::clone(&seen), Arc::clone(&wait));
        async move {
            seen.add_permits(1);
            let mut headers = HeaderMap::new();
            headers.insert("etag", "\"a\"".parse().unwrap());
            if !request.headers().contains_key("if-none-match") {
                let count = seen.available_permits();
                headers.insert("cache-control", "max-age=5".parse().unwrap());
                headers.insert("age", "9".parse().unwrap());
                return (http::StatusCode::OK, headers, count.to_string());
            }
            wait.acquire().await.unwrap().forget();
            headers.insert("cache-control", "max-age=60".parse().unwrap());
            (http::StatusCode::NOT_MODIFIED, headers, String::new())
        }
    }));
    (serve(router).await, asked, released)
}

/// A purge ends what is stored for all who ask after it, also if a revalidation began before it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_purged_while_it_is_revalidated_is_for_no_other_request() {
    let (address, asked, released) = revalidating().await;
    let settings = [
        upstream(&[address]),
        "[caches.c]\n".to_owned(),
        route("all", "/*", "cache = \"c\""),
    ];
    let gateway = Arc::new(Gateway::start(&settings.concat()).await);
    assert_eq!(ask(&gateway, "/a", &[]).await, (false, "1".to_owned()));
    let start = || {
        let gateway = Arc::clone(&gateway);
        tokio::spawn(async move { ask(&gateway, "/a", &[]).await })
    };
    let first = start();
    eventually("the upstream is asked", || async {
        (asked.available_permits() == 2).then_some(())
    })
    .await;
    let url = format!("http://{}/caches/purge", gateway.admin);
    let purge = client().post(url).json(&serde_json::json!({ "all": true }));
    assert_eq!(purge.send().await.unwrap().status(), 200);
    // After the purge, nothing is stored: this one waits for the first one's response.
    let second = start();
    let active = "http_server_active_requests{service=\"gateway\",http_request_method=\"GET\"}";
    eventually("both are in flight", || async {
        (gateway.metric(active).await >= 2.0).then_some(())
    })
    .await;
    released.add_permits(1);
    assert_eq!(first.await.unwrap().1, "1");
    assert_eq!(second.await.unwrap(), (false, "3".to_owned()));
}
