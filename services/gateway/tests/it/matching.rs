//! Conditions on query and headers, and the path that the upstream receives.

use h2::client;
use http::Request;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::support::{
    Gateway, client as http_client, echo, exchange, problem, route, serve, upstream,
};

fn header<'a>(echoed: &'a Value, name: &str) -> Option<&'a str> {
    let headers = echoed["headers"].as_array().unwrap();
    let mut named = headers.iter().filter(|pair| pair[0] == name);
    let value = named.next().map(|pair| pair[1].as_str().unwrap());
    assert_eq!(named.next(), None, "once: {name}");
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn query_and_headers_select_the_route() {
    let mark = |name: &str, conditions: &str| {
        let more = format!("{conditions}\nrequest_headers = {{ x-route = \"{name}\" }}");
        route(name, "/a", &more)
    };
    let settings = [
        upstream(&[serve(echo()).await]),
        mark("plain", ""),
        mark("beta", "query = { beta = \"1\" }"),
        mark("both", "query = { beta = \"1\", debug = true }"),
        mark("none", "query = { v = \"2\", beta = false }"),
        mark("named", "headers = { x-beta = true }"),
        mark("posted", "query = { beta = \"1\" }\nmethods = [\"POST\"]"),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let found = async |method: &str, path: &str, beta: bool| {
        let mut request = http_client().request(method.parse().unwrap(), gateway.url(path));
        if beta {
            request = request.header("x-beta", "");
        }
        let echoed: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(echoed["path"], path, "the query is forwarded as sent");
        header(&echoed, "x-route").unwrap().to_owned()
    };
    for (path, expected) in [
        ("/a", "plain"),
        ("/a?beta=1", "beta"),
        ("/a?x=&beta=%31", "beta"),
        ("/a?beta=2&beta=1", "plain"),
        ("/a?beta=1&debug", "both"),
        ("/a?v=2", "none"),
        ("/a?v=2&beta=2", "plain"),
    ] {
        assert_eq!(found("GET", path, false).await, expected, "{path}");
    }
    assert_eq!(found("POST", "/a?beta=1", false).await, "posted");
    // Headers count before the query.
    assert_eq!(found("GET", "/a?beta=1&debug", true).await, "named");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_receives_the_rewritten_path() {
    let settings = [
        upstream(&[serve(echo()).await]),
        "[server]\nhttp2 = true\n".to_owned(),
        route("strip", "/api/*", "rewrite = \"/*\""),
        route(
            "replace",
            "/v1/{tenant}/*",
            "rewrite = \"/t/{tenant}/v2/*\"",
        ),
        route("fixed", "/old/{id}", "rewrite = \"/new\""),
        route(
            "raw",
            "/files/*",
            "rewrite = \"/bucket/*\"\nraw_path = true",
        ),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    for (path, expected, prefix) in [
        ("/api/users/7?x=1&y=%2F", "/users/7?x=1&y=%2F", Some("/api")),
        ("/api", "/", Some("/api")),
        ("/api?x", "/?x", Some("/api")),
        ("/%61pi//a", "/a", Some("/api")),
        ("/v1/acme/a%20b/", "/t/acme/v2/a%20b/", None),
        ("/v1/acme", "/t/acme/v2", None),
        ("/old/7?q", "/new?q", None),
        ("/files/a%2Fb;v=1?q", "/bucket/a%2Fb;v=1?q", None),
        ("/files/a%2fb", "/bucket/a%2fb", None),
    ] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nx-forwarded-prefix: /forged\r\nx_forwarded_prefix: /forged\r\n\r\n"
        );
        let response = exchange(gateway.public, request.as_bytes()).await;
        let echoed: Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!(echoed["path"], expected, "{path}");
        assert_eq!(header(&echoed, "x-forwarded-prefix"), prefix, "{path}");
        assert!(!response.body.contains("forged"), "{path}");
    }
    for path in [
        "/api/../x",
        "/api/%2e%2e/x",
        "/api/..%2Fx",
        "/v1/%2e%2e/x",
        "/files/..%2Fx",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
        let response = exchange(gateway.public, request.as_bytes()).await;
        response.problem(400, "invalid_parameter");
    }
    // The log and the policies see the path of the client.
    assert_eq!(gateway.access_line("/api/users/7").await["route"], "/api/*");
    let stream = TcpStream::connect(gateway.public).await.unwrap();
    let (mut send, connection) = client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://gateway.test/api/h2?x=1")
        .body(())
        .unwrap();
    let (response, _) = send.send_request(request, true).unwrap();
    let mut body = response.await.unwrap().into_body();
    let mut bytes = Vec::new();
    while let Some(part) = body.data().await {
        bytes.extend_from_slice(&part.unwrap());
    }
    let echoed: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(echoed["path"], "/h2?x=1");
    assert_eq!(header(&echoed, "x-forwarded-prefix"), Some("/api"));
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_answer_themselves() {
    let settings = [
        "[routes.down]\npaths = [\"/down\"]\nauth = \"public\"\n\
         respond = { status = 503, body = \"{}\", content_type = \"application/json\" }\n\
         response_headers = { retry-after = \"60\" }\n",
        "[routes.icon]\npaths = [\"/favicon.ico\"]\nauth = \"public\"\nrespond = { status = 204 }\n",
        "[routes.closed]\npaths = [\"/closed\"]\nrespond = { status = 200, body = \"a\" }\n",
        "[routes.moved]\npaths = [\"/moved\"]\nauth = \"public\"\nredirect = \"/to\"\nredirect_status = 303\n",
        "[routes.next]\npaths = [\"/p/{id}\"]\nauth = \"public\"\nredirect = \"/p/{id}?next={id}#{id}\"\n",
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    // A segment stays within the parameter that it is written in.
    for (path, expected) in [
        (
            "/p/a&admin=1",
            "/p/a&admin=1?next=a%26admin%3D1#a%26admin%3D1",
        ),
        ("/p/a%26b+c", "/p/a%26b+c?next=a%26b%2Bc#a%26b%2Bc"),
    ] {
        let response = gateway.get(path).await;
        assert_eq!(response.headers()["location"], expected);
    }
    for _ in 0..2 {
        let response = gateway.get("/down").await;
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.headers()["retry-after"], "60");
        assert!(response.headers().contains_key("x-request-id"));
        assert_eq!(response.text().await.unwrap(), "{}");
    }
    let head = http_client()
        .head(gateway.url("/down"))
        .send()
        .await
        .unwrap();
    assert_eq!(head.headers()["content-length"], "2");
    let request = b"GET /favicon.ico HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let response = exchange(gateway.public, request).await;
    assert_eq!((response.status, &*response.body), (204, ""));
    assert!(!response.head.contains("\ncontent-"), "{response:?}");
    problem(gateway.get("/closed").await, 401, "unauthenticated").await;
    for method in ["GET", "POST"] {
        let request = http_client().request(method.parse().unwrap(), gateway.url("/moved"));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 303);
        assert_eq!(response.headers()["location"], "/to");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_response_of_a_deprecated_route_says_so() {
    let dates = "deprecated_on = \"2020-01-01\"\nsunset_on = \"2020-12-31\"\n\
                 deprecation_link = \"https://example.org/v2?a b\"";
    let settings = [
        upstream(&[serve(echo()).await]),
        route("v1", "/v1/*", dates),
        route("v0", "/v0/*", &format!("{dates}\nafter_sunset = \"gone\"")),
        route(
            "soon",
            "/soon",
            "sunset_on = \"9999-12-31\"\nafter_sunset = \"gone\"",
        ),
        route("closed", "/closed", dates).replace("\"public\"", "\"required\""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    for (path, status) in [("/v1/a", 200), ("/v0/a", 410), ("/closed", 401)] {
        let response = gateway.get(path).await;
        assert_eq!(response.status(), status, "{path}");
        let headers = response.headers();
        assert_eq!(headers["deprecation"], "@1577836800");
        assert_eq!(headers["sunset"], "Thu, 31 Dec 2020 00:00:00 GMT");
        let links: Vec<_> = headers.get_all("link").iter().collect();
        assert_eq!(
            links,
            [
                "<https://example.org/v2?a%20b>; rel=\"deprecation\"",
                "<https://example.org/v2?a%20b>; rel=\"sunset\"",
            ]
        );
    }
    problem(gateway.get("/v0/a").await, 410, "version_retired").await;
    let response = gateway.get("/soon").await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["sunset"],
        "Fri, 31 Dec 9999 00:00:00 GMT"
    );
    assert!(!response.headers().contains_key("deprecation"));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_of_routes_are_named() {
    let gateway = Gateway::start("").await;
    let address = gateway.public;
    for (more, key, rule) in [
        ("query = { a = 1 }", "query.a", "true for any value"),
        (
            "headers = { \"a b\" = \"1\" }",
            "headers.a b",
            "not a valid header name",
        ),
        (
            "rewrite = \"/{x}\"",
            "rewrite",
            "there is no segment `{x}` in every path",
        ),
        ("rewrite = \"/../x\"", "rewrite", "`.` and `..`"),
        ("rewrite = \"/x/*\"", "rewrite", "unless every path does"),
        (
            "rewrite = \"/{id}\"\nraw_path = true",
            "rewrite",
            "replace one prefix by another",
        ),
        (
            "redirect = \"/x\"",
            "redirect",
            "cannot be combined with `upstream`",
        ),
        (
            "respond = { status = 200 }",
            "respond",
            "cannot be combined with `upstream`",
        ),
        (
            "redirect_status = 307",
            "redirect_status",
            "needs `redirect`",
        ),
        (
            "redirect_status = 304",
            "redirect_status",
            "301, 302, 303, 307 or 308",
        ),
        (
            "sunset_on = \"31.12.2026\"",
            "sunset_on",
            "must be a date such as 2026-12-31",
        ),
        (
            "after_sunset = \"gone\"",
            "after_sunset",
            "needs `sunset_on`",
        ),
        (
            "deprecation_link = \"https://a\"",
            "deprecation_link",
            "needs `deprecated_on`",
        ),
        (
            "sunset_on = \"2026-01-01\"\ndeprecation_link = \"javascript:1\"",
            "deprecation_link",
            "must be a URL",
        ),
        (
            "deprecated_on = \"2027-01-01\"\nsunset_on = \"2026-01-01\"",
            "sunset_on",
            "must not be before",
        ),
    ] {
        let settings = [upstream(&[address]), route("r", "/r/{id}", more)].concat();
        let error = gateway.refused_reload(&settings).await;
        assert!(
            error.contains(&format!("routes.r.{key}")),
            "{more}: {error}"
        );
        assert!(error.contains(rule), "{more}: {error}");
    }
    for (respond, rule) in [
        ("{ status = 199 }", "between 200 and 599"),
        ("{ status = 204, body = \"x\" }", "must be empty"),
        (
            "{ status = 200, content_type = \"\" }",
            "not a valid header value",
        ),
    ] {
        let settings = format!("[routes.r]\npaths = [\"/r\"]\nrespond = {respond}\n");
        let error = gateway.refused_reload(&settings).await;
        assert!(error.contains(rule), "{respond}: {error}");
    }
}
