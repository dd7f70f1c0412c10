//! Route selection, and the headers of forwarded requests.

use reqwest::Url;
use serde_json::Value;

use crate::support::{Gateway, client, echo, exchange, problem, route, serve, upstream};

/// The values of a header as the upstream received it.
fn headers<'a>(echoed: &'a Value, name: &str) -> Vec<&'a str> {
    echoed["headers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|pair| pair[0] == name)
        .map(|pair| pair[1].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_hosts_and_methods_select_the_route() {
    let address = serve(echo()).await;
    let settings = [
        upstream(&[address]),
        route("all", "/api/*", ""),
        route("read", "/doc", "methods = [\"GET\"]"),
        route("host", "/*", "hosts = [\"only.example\"]"),
    ]
    .concat();
    let gateway = Gateway::start(&settings).await;
    let echoed: Value = gateway
        .get("/api/a%20b?x=1&y=%2F")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(echoed["path"], "/api/a%20b?x=1&y=%2F");
    let response = client()
        .get(gateway.url("/elsewhere"))
        .header("host", "only.example")
        .send();
    assert_eq!(response.await.unwrap().status(), 200);
    problem(gateway.get("/elsewhere").await, 404, "no_route").await;
    let response = client().post(gateway.url("/doc")).send().await.unwrap();
    assert_eq!(response.headers()["allow"], "GET, HEAD");
    problem(response, 405, "method_not_allowed").await;
    let response = client().head(gateway.url("/doc")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    for path in ["/metrics", "/ready", "/routes", "/upstreams"] {
        problem(gateway.get(path).await, 404, "no_route").await;
        assert_eq!(gateway.admin(path).await.status(), 200, "{path}");
    }
    let routes: Value = gateway.admin("/routes").await.json().await.unwrap();
    assert_eq!(routes["routes"].as_array().unwrap().len(), 3);
}

/// Some frameworks read methods without case, and would find the resource of the stricter route.
#[tokio::test(flavor = "multi_thread")]
async fn methods_in_another_case_do_not_lead_around_a_route() {
    let settings = [
        upstream(&[serve(echo()).await]),
        route("all", "/*", ""),
        route("write", "/doc", "methods = [\"POST\"]\nlimit = \"none\""),
        "[limits.none]\nrequests = 1\nwindow_seconds = 3600\n".to_owned(),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let call = async |method: &str| {
        let request = format!("{method} /doc HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
        exchange(gateway.public, request.as_bytes()).await
    };
    assert_eq!(call("POST").await.status, 200);
    call("POST").await.problem(429, "rate_limited");
    for method in ["post", "Post", "pOST", "get", "connect", "propfind"] {
        call(method).await.problem(400, "malformed_request");
    }
    for method in ["GET", "PROPFIND", "M-SEARCH", "VERSION_1"] {
        assert_eq!(call(method).await.status, 200, "{method}");
    }
}

/// Of the routes that are shipped: a slash after a slug changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn short_links_are_forwarded_with_and_without_a_slash() {
    let address = serve(echo()).await;
    let links = format!("[upstreams.links]\naddresses = [\"{address}\"]\n");
    let gateway = Gateway::start(&links).await;
    for path in ["/s/abc", "/s/abc/"] {
        let echoed: Value = gateway.get(path).await.json().await.unwrap();
        assert_eq!(echoed["path"], path);
    }
    for path in ["/s/", "/s/abc/d"] {
        problem(gateway.get(path).await, 404, "no_route").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_and_access_lines_have_request_id_and_trace() {
    let address = serve(echo()).await;
    let settings = [upstream(&[address]), route("all", "/*", "")].concat();
    let gateway = Gateway::start(&settings).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let response = client()
        .get(gateway.url("/traced"))
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .header("x-request-id", "chosen-by-the-client")
        .send()
        .await
        .unwrap();
    let id = response.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_ne!(id, "chosen-by-the-client");
    let parent = response.headers()["traceparent"]
        .to_str()
        .unwrap()
        .to_owned();
    let echoed: Value = response.json().await.unwrap();
    assert_eq!(headers(&echoed, "x-request-id"), [id.as_str()]);
    assert_eq!(headers(&echoed, "traceparent"), [parent.as_str()]);
    // Only trusted proxies continue a trace; see `conduct`.
    assert!(!parent.contains(trace) && !parent.contains("00f067aa0ba902b7"));
    let line = gateway.access_line("/traced").await;
    assert_eq!(line["request_id"], id);
    assert_eq!(line["trace_id"], parent.split('-').nth(1).unwrap());
    assert_eq!(line["span_id"], parent.split('-').nth(2).unwrap());
    assert_eq!(line["method"], "GET");
    assert_eq!(line["route"], "/*");
    assert_eq!(line["service"], "gateway");
    assert_eq!(line["upstream"], address.to_string());
    assert_eq!(line["level"], "info");
    assert!(line["duration_ms"].is_number() && line["upstream_ms"].is_number());
    assert!(line["bytes"].as_u64().unwrap() > 0);
    let metric = "http_server_request_duration_seconds_count{service=\"gateway\"";
    assert!(gateway.metric(metric).await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_headers_of_clients_are_replaced() {
    let address = serve(echo()).await;
    let gateway = Gateway::start(&[upstream(&[address]), route("all", "/*", "")].concat()).await;
    let forged = [
        "x-user-id",
        "x_user_id",
        "X-User-Email",
        "x_session-id",
        "x-quartet-role",
        "x_quartet_role",
        "forwarded",
        "x-forwarded-for",
        "x_forwarded_for",
        "x-forwarded-proto",
        "x-forwarded-anything",
        "x_request_id",
    ];
    let mut request = client().get(gateway.url("/a")).header("x-kept", "1");
    for name in forged {
        request = request.header(name, "forged");
    }
    let echoed: Value = request.send().await.unwrap().json().await.unwrap();
    assert!(
        !echoed["headers"].to_string().contains("forged"),
        "{echoed}"
    );
    assert_eq!(headers(&echoed, "x-kept"), ["1"]);
    assert_eq!(headers(&echoed, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(headers(&echoed, "x-forwarded-proto"), ["http"]);
    assert_eq!(
        headers(&echoed, "x-forwarded-host"),
        [gateway.public.to_string()]
    );
    assert!(headers(&echoed, "x-user-id").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_trusted_proxies_are_used() {
    let address = serve(echo()).await;
    let settings = [
        upstream(&[address]),
        "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n".to_owned(),
        route("all", "/*", ""),
    ]
    .concat();
    let gateway = Gateway::start(&settings).await;
    let response = client()
        .get(gateway.url("/a"))
        .header("x-forwarded-for", "203.0.113.9, 198.51.100.7")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "www.example.org")
        .header("x-request-id", "from-the-proxy")
        .header("x-user-id", "forged")
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["x-request-id"], "from-the-proxy");
    let echoed: Value = response.json().await.unwrap();
    assert_eq!(headers(&echoed, "x-forwarded-for"), ["198.51.100.7"]);
    assert_eq!(headers(&echoed, "x-forwarded-proto"), ["https"]);
    assert_eq!(headers(&echoed, "x-forwarded-host"), ["www.example.org"]);
    assert_eq!(headers(&echoed, "x-request-id"), ["from-the-proxy"]);
    assert!(headers(&echoed, "x-user-id").is_empty());
    // What is not one scheme or one host is replaced by what the gateway knows.
    for (proto, host) in [("https, http", "a, b"), ("gopher", "a/b"), ("", "")] {
        let request = client().get(gateway.url("/a"));
        let request = request.header("x-forwarded-proto", proto);
        let response = request.header("x-forwarded-host", host).send().await;
        let echoed: Value = response.unwrap().json().await.unwrap();
        assert_eq!(headers(&echoed, "x-forwarded-proto"), ["http"]);
        let public = gateway.public.to_string();
        assert_eq!(headers(&echoed, "x-forwarded-host"), [public.as_str()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_upstream_is_503() {
    let unused = crate::support::free_address();
    let gateway = Gateway::start(&[upstream(&[unused]), route("all", "/*", "")].concat()).await;
    let response = gateway.get("/a").await;
    assert_eq!(response.headers()["retry-after"], "1");
    problem(response, 503, "upstream_unreachable").await;
    let line = gateway.access_line("/a").await;
    assert_eq!(line["code"], "upstream_unreachable");
    assert_eq!(line["level"], "error");
}

#[tokio::test(flavor = "multi_thread")]
async fn upstream_host_header_can_be_set() {
    let address = serve(echo()).await;
    let settings = [
        upstream(&[address]),
        format!("[upstreams.named]\naddresses = [\"{address}\"]\nhost = \"bucket.example\"\n"),
        route("named", "/named", "").replace("\"u\"", "\"named\""),
        route("all", "/*", ""),
    ]
    .concat();
    let gateway = Gateway::start(&settings).await;
    let public = gateway.public.to_string();
    for (path, host) in [("/named", "bucket.example"), ("/other", &public)] {
        let echoed: Value = gateway.get(path).await.json().await.unwrap();
        assert_eq!(headers(&echoed, "host"), [host], "{path}");
        assert_eq!(headers(&echoed, "x-forwarded-host"), [public.as_str()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_edit_headers_and_redirect() {
    let more = "request_headers = { x-tenant = \"t-{tenant}\", x-plan = \"free\", x-secret = \"\" }\n\
                response_headers = { strict-transport-security = \"max-age=60\", server = \"\" }";
    let settings = [
        upstream(&[serve(echo()).await]),
        route("edited", "/t/{tenant}/*", more),
        "[routes.moved]\npaths = [\"/old/{id}\"]\nredirect = \"https://new.example/{id}\"\n\
         auth = \"public\"\n"
            .to_owned(),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let request = client().get(gateway.url("/t/acme/x"));
    let request = request
        .header("x-tenant", "forged")
        .header("x-plan", "forged")
        .header("x-secret", "forged");
    let response = request.send().await.unwrap();
    assert_eq!(
        response.headers()["strict-transport-security"],
        "max-age=60"
    );
    assert!(!response.headers().contains_key("server"));
    let echoed: Value = response.json().await.unwrap();
    assert_eq!(headers(&echoed, "x-tenant"), ["t-acme"]);
    assert_eq!(headers(&echoed, "x-plan"), ["free"]);
    assert!(headers(&echoed, "x-secret").is_empty());
    for (method, status) in [("GET", 301), ("POST", 308)] {
        let request = client().request(method.parse().unwrap(), gateway.url("/old/7%2c"));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["location"], "https://new.example/7%2C");
        assert!(response.headers().contains_key("x-request-id"));
    }
    assert_eq!(gateway.access_line("/old/7%2c").await["route"], "/old/{id}");
}

/// Whatever the path, a browser that follows the redirect stays where the settings send it.
#[tokio::test(flavor = "multi_thread")]
async fn the_path_of_a_request_does_not_choose_the_host_of_its_redirect() {
    let moved = |name: &str, path: &str, redirect: &str| {
        format!(
            "[routes.{name}]\npaths = [\"{path}\"]\nredirect = \"{redirect}\"\nauth = \"public\"\n"
        )
    };
    let settings = [
        moved("one", "/one/{a}", "/{a}"),
        moved("first", "/first/{a}/{b}", "/{a}/{b}"),
        moved("joined", "/joined/{a}/{b}", "/{a}{b}"),
        moved("url", "/url/{a}", "https://new.example/{a}"),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let address = gateway.public;
    let own = Url::parse(&format!("http://{address}/")).unwrap();
    let segments = [
        "a",
        "",
        "/",
        "/evil.example",
        "//evil.example",
        "%2Fevil.example",
        "%2f%2fevil.example",
        "\\evil.example",
        "%5Cevil.example",
        "%09/evil.example",
        "\t/evil.example",
        ";/evil.example",
        "./evil.example",
        "../evil.example",
        ".%2e//evil.example",
        "@evil.example",
        "https:evil.example",
        "?/evil.example",
    ];
    let mut redirected = 0;
    for first in segments {
        for second in segments {
            for route in ["one", "first", "joined", "url"] {
                let path = match route {
                    "one" | "url" => format!("/{route}/{first}"),
                    _ => format!("/{route}/{first}/{second}"),
                };
                let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
                let response = exchange(address, request.as_bytes()).await;
                let mut lines = response.head.lines();
                let location = lines.find_map(|line| line.strip_prefix("location: "));
                let Some(location) = location else {
                    assert!(
                        (400..500).contains(&response.status),
                        "{path}: {response:?}"
                    );
                    continue;
                };
                redirected += 1;
                let followed = own.join(location).unwrap();
                let host = if route == "url" {
                    "new.example"
                } else {
                    "127.0.0.1"
                };
                assert_eq!(followed.host_str(), Some(host), "{path}: {location}");
            }
        }
    }
    assert!(redirected > 100, "{redirected}");
}
