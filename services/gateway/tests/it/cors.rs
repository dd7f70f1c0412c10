//! Pages of other origins: CORS, and the `Origin` of WebSocket handshakes.

use axum::{Router, routing::any};
use serde_json::Value;

use crate::support::{Gateway, RawResponse, exchange, free_address, route, serve, upstream};

const PAGE: &str = "https://app.example.org";
const SECRET: &str =
    "[jwt]\njwks_url = \"\"\nhs256_secret = \"0123456789abcdef0123456789abcdef\"\n";
const CORS: &str = "[cors.app]\norigins = [\"https://app.example.org\", \"https://*.pages.example\"]\n\
    credentials = true\nmax_age_seconds = 60\n[cors.any]\norigins = [\"*\"]\n\
    [cors.sandbox]\norigins = [\"null\"]\nprivate_network = true\nmethods = [\"PUT\"]\n";

/// What it says about CORS itself must not reach a page.
fn opinionated() -> Router {
    Router::new().fallback(any(async || {
        (
            [
                ("access-control-allow-origin", "https://evil.example"),
                ("access-control-allow-credentials", "true"),
                ("access-control-expose-headers", "x-secret"),
                ("vary", "accept-encoding"),
            ],
            "ok",
        )
    }))
}

async fn gateway() -> Gateway {
    let required = |name: &str, path: &str, more: &str| {
        route(name, path, more).replace("\"public\"", "\"required\"")
    };
    let settings = [
        upstream(&[serve(opinionated()).await]),
        SECRET.to_owned(),
        CORS.to_owned(),
        "[limits.one]\nrequests = 1\nwindow_seconds = 3600\n".to_owned(),
        "[limits.two]\nrequests = 1\nwindow_seconds = 3600\n".to_owned(),
        route("plain", "/plain", ""),
        route("open", "/open", "cors = \"app\""),
        route("any", "/any", "cors = \"any\""),
        route("sandbox", "/sandbox", "cors = \"sandbox\""),
        required(
            "strict",
            "/strict",
            "cors = \"app\"\nmethods = [\"GET\", \"DELETE\"]\nlimit = \"two\"",
        ),
        route("own", "/own", "methods = [\"GET\"]"),
        route("own_write", "/own", "methods = [\"POST\"]\ncors = \"app\""),
        route("limited", "/limited", "cors = \"app\"\nlimit = \"one\""),
        format!("[upstreams.gone]\naddresses = [\"{}\"]\n", free_address()),
        route("down", "/down", "cors = \"app\"").replace("\"u\"", "\"gone\""),
    ];
    Gateway::start(&settings.concat()).await
}

async fn call(gateway: &Gateway, method: &str, path: &str, fields: &str) -> RawResponse {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: api.example\r\n{fields}\r\n");
    exchange(gateway.public, request.as_bytes()).await
}

/// The values of a header; names and values are in lower case.
fn values<'r>(response: &'r RawResponse, name: &str) -> Vec<&'r str> {
    let lines = response
        .head
        .lines()
        .filter_map(|line| line.split_once(": "));
    lines
        .filter(|(other, _)| *other == name)
        .map(|(_, value)| value)
        .collect()
}

fn varies_by_origin(response: &RawResponse) -> bool {
    let lists = values(response, "vary").join(", ");
    lists.split(", ").any(|name| name == "origin")
}

async fn preflight(gateway: &Gateway, path: &str, origin: &str, method: &str) -> RawResponse {
    let fields = format!(
        "Origin: {origin}\r\nAccess-Control-Request-Method: {method}\r\n\
         Access-Control-Request-Headers: x-asked\r\n"
    );
    call(gateway, "OPTIONS", path, &fields).await
}

#[tokio::test(flavor = "multi_thread")]
async fn preflights_are_answered_before_tokens_and_limits() {
    let gateway = gateway().await;
    for _ in 0..3 {
        let response = preflight(&gateway, "/strict", PAGE, "DELETE").await;
        assert_eq!(response.status, 204, "{response:?}");
        let one = |name: &str| values(&response, name).join("|");
        assert_eq!(one("access-control-allow-origin"), PAGE);
        assert_eq!(one("access-control-allow-credentials"), "true");
        assert_eq!(one("access-control-allow-methods"), "get, delete, head");
        assert!(one("access-control-allow-headers").contains("authorization"));
        assert_eq!(one("access-control-max-age"), "60");
        assert_eq!(one("access-control-expose-headers"), "");
        assert_eq!(
            one("vary"),
            "origin, access-control-request-method, access-control-request-headers"
        );
        assert_eq!(one("content-length"), "");
        assert_eq!(one("ratelimit"), "");
        assert!(!one("x-request-id").is_empty());
    }
    let response = preflight(&gateway, "/strict", "https://evil.example", "DELETE").await;
    response.problem(403, "origin_not_allowed");
    assert!(varies_by_origin(&response));
    assert!(values(&response, "access-control-allow-origin").is_empty());
    // Of a method that no route has, the OPTIONS of the path decides.
    let response = preflight(&gateway, "/strict", PAGE, "PATCH").await;
    response.problem(405, "method_not_allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_announced_method_selects_the_route() {
    let gateway = gateway().await;
    let response = preflight(&gateway, "/own", PAGE, "POST").await;
    assert_eq!(response.status, 204, "{response:?}");
    assert_eq!(values(&response, "access-control-allow-methods"), ["post"]);
    // This route has no CORS, and none of the path has OPTIONS.
    let response = preflight(&gateway, "/own", PAGE, "GET").await;
    response.problem(405, "method_not_allowed");
    // What upstreams answer themselves is theirs.
    let response = preflight(&gateway, "/plain", PAGE, "GET").await;
    assert_eq!(response.status, 200);
    assert_eq!(
        values(&response, "access-control-allow-origin"),
        ["https://evil.example"]
    );
    // No preflight: an OPTIONS of a page, or of another client.
    for fields in [
        "",
        "Origin: https://app.example.org\r\n",
        "Access-Control-Request-Method: GET\r\n",
    ] {
        let response = call(&gateway, "OPTIONS", "/open", fields).await;
        assert_eq!((response.status, &*response.body), (200, "ok"), "{fields}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pages_may_ask_for_is_configured() {
    let gateway = gateway().await;
    let response = preflight(&gateway, "/any", PAGE, "REPORT").await;
    assert_eq!(values(&response, "access-control-allow-origin"), ["*"]);
    assert_eq!(
        values(&response, "access-control-allow-methods"),
        ["report"]
    );
    assert!(values(&response, "access-control-allow-credentials").is_empty());
    let private = "Origin: null\r\nAccess-Control-Request-Method: PUT\r\n\
                   Access-Control-Request-Private-Network: true\r\n";
    let response = call(&gateway, "OPTIONS", "/sandbox", private).await;
    assert_eq!(values(&response, "access-control-allow-origin"), ["null"]);
    assert_eq!(
        values(&response, "access-control-allow-private-network"),
        ["true"]
    );
    assert_eq!(values(&response, "access-control-allow-methods"), ["put"]);
    let fields = private.replace("null", PAGE);
    let response = call(&gateway, "OPTIONS", "/open", &fields).await;
    assert!(values(&response, "access-control-allow-private-network").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_name_the_origin_that_may_read_them() {
    let gateway = gateway().await;
    for (path, origin, allowed) in [
        ("/open", Some(PAGE), Some(PAGE)),
        (
            "/open",
            Some("https://a.pages.example"),
            Some("https://a.pages.example"),
        ),
        ("/open", Some("https://pages.example"), None),
        ("/open", Some("https://evilpages.example"), None),
        ("/open", Some("https://a.pages.example.evil"), None),
        ("/open", Some("null"), None),
        (
            "/open",
            Some("https://app.example.org\r\nOrigin: https://app.example.org"),
            None,
        ),
        ("/open", None, None),
        ("/sandbox", Some("null"), Some("null")),
        ("/sandbox", Some(PAGE), None),
        ("/any", Some(PAGE), Some("*")),
    ] {
        let fields = origin.map_or(String::new(), |origin| format!("Origin: {origin}\r\n"));
        let response = call(&gateway, "GET", path, &fields).await;
        assert_eq!((response.status, &*response.body), (200, "ok"));
        let named = values(&response, "access-control-allow-origin");
        assert_eq!(
            named,
            allowed.into_iter().collect::<Vec<_>>(),
            "{path} {origin:?}"
        );
        let exposed = values(&response, "access-control-expose-headers");
        assert_eq!(
            exposed.len(),
            usize::from(allowed.is_some()),
            "{path} {origin:?}"
        );
        assert!(!exposed.concat().contains("x-secret"));
        let credentials = values(&response, "access-control-allow-credentials");
        let has_credentials = path == "/open" && allowed.is_some();
        assert_eq!(
            credentials.len(),
            usize::from(has_credentials),
            "{path} {origin:?}"
        );
        // Also without an origin: a cache keeps that response.
        assert_eq!(
            varies_by_origin(&response),
            path != "/any",
            "{path} {origin:?}"
        );
        assert!(values(&response, "vary").contains(&"accept-encoding"));
    }
}

/// Otherwise the page learns no more than that something failed.
#[tokio::test(flavor = "multi_thread")]
async fn pages_can_read_the_gateways_own_errors() {
    let gateway = gateway().await;
    let fields = format!("Origin: {PAGE}\r\n");
    call(&gateway, "GET", "/limited", &fields).await;
    for (path, status, code) in [
        ("/strict", 401, "unauthenticated"),
        ("/limited", 429, "rate_limited"),
        ("/down", 503, "upstream_unreachable"),
    ] {
        let response = call(&gateway, "GET", path, &fields).await;
        assert_eq!(response.status, status, "{response:?}");
        let body: Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!(body["code"], code);
        assert_eq!(
            values(&response, "access-control-allow-origin"),
            [PAGE],
            "{path}"
        );
        assert!(varies_by_origin(&response), "{path}");
        let exposed = values(&response, "access-control-expose-headers").concat();
        assert!(exposed.contains("retry-after"), "{exposed}");
    }
}

const HANDSHAKE: &str = "Connection: upgrade\r\nUpgrade: websocket\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/// The upstream answers a handshake with 200, so what is not 403 has reached it.
#[tokio::test(flavor = "multi_thread")]
async fn websockets_are_opened_for_pages_that_are_allowed() {
    let settings = [
        upstream(&[serve(opinionated()).await]),
        CORS.to_owned(),
        "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n".to_owned(),
        route("own", "/own", "upgrade = true"),
        route("app", "/app", "upgrade = true\ncors = \"app\""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let open = async |path: &str, fields: &str| {
        let fields = format!("{HANDSHAKE}{fields}");
        call(&gateway, "GET", path, &fields).await
    };
    for (path, fields, allowed) in [
        ("/own", "", true),
        ("/own", "Origin: http://api.example\r\n", true),
        ("/own", "Origin: https://api.example\r\n", true),
        ("/own", "Origin: https://api.example:8443\r\n", false),
        ("/own", "Origin: https://api.example.evil\r\n", false),
        ("/own", "Origin: https://evilapi.example\r\n", false),
        ("/own", "Origin: https://app.example.org\r\n", false),
        ("/own", "Origin: null\r\n", false),
        ("/own", "Origin: \r\n", false),
        ("/own", "Origin: file://\r\n", false),
        (
            "/own",
            "Origin: http://api.example\r\nOrigin: http://api.example\r\n",
            false,
        ),
        (
            "/own",
            "Origin: https://api.example\r\nX-Forwarded-Proto: https\r\n",
            true,
        ),
        (
            "/own",
            "Origin: http://api.example\r\nX-Forwarded-Proto: https\r\n",
            false,
        ),
        (
            "/own",
            "Origin: https://a.test\r\nX-Forwarded-Host: a.test\r\n",
            true,
        ),
        (
            "/own",
            "Origin: https://api.example\r\nX-Forwarded-Host: a.test\r\n",
            false,
        ),
        ("/app", "Origin: https://app.example.org\r\n", true),
        ("/app", "Origin: https://x.pages.example\r\n", true),
        ("/app", "Origin: https://evil.example\r\n", false),
        ("/app", "Origin: http://api.example\r\n", true),
    ] {
        let response = open(path, fields).await;
        if allowed {
            assert_ne!(response.status, 403, "{path} {fields}: {response:?}");
        } else {
            response.problem(403, "origin_not_allowed");
        }
    }
}
