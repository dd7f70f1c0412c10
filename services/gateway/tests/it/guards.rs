//! Client networks, maintenance, injected faults, security headers and header edits.

use std::time::{Duration, Instant};

use axum::{Router, routing::any};
use serde_json::Value;
use tokio::{io::AsyncReadExt as _, io::AsyncWriteExt as _, net::TcpStream, time::timeout};

use crate::support::{
    DEADLINE, Gateway, RawResponse, client, echo, exchange, problem, route, serve, upstream,
};

const PROXY: &str = "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n";

/// A request of this client, by the proxy that the test is.
async fn as_client(gateway: &Gateway, path: &str, client_ip: &str) -> reqwest::Response {
    let request = client().get(gateway.url(path));
    let request = request.header("x-forwarded-for", client_ip);
    request.send().await.unwrap()
}

async fn get(gateway: &Gateway, path: &str, fields: &str) -> RawResponse {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    exchange(gateway.public, request.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_refused_by_network_before_anything_is_counted() {
    let settings = [
        upstream(&[serve(echo()).await]),
        PROXY.to_owned(),
        "[defaults]\ndenied_networks = [\"203.0.113.0/24\"]\n".to_owned(),
        "[limits.one]\nrequests = 1\nwindow_seconds = 3600\n".to_owned(),
        route("open", "/open", ""),
        route("all", "/all", "denied_networks = []"),
        route(
            "office",
            "/office",
            "allowed_networks = [\"192.0.2.0/24\", \"2001:db8::/32\"]\ndenied_networks = [\"192.0.2.7/32\"]\n\
             limit = \"one\"",
        ),
        route("inside", "/inside", "allowed_networks = [\"192.0.2.0/24\"]")
            .replace("\"public\"", "\"required\""),
        "[jwt]\njwks_url = \"\"\nhs256_secret = \"0123456789abcdef0123456789abcdef\"\n".to_owned(),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    for (path, client_ip, allowed) in [
        ("/open", "198.51.100.1", true),
        ("/open", "203.0.113.9", false),
        ("/all", "203.0.113.9", true),
        ("/office", "198.51.100.1", false),
        ("/office", "192.0.2.7", false),
        ("/office", "192.0.2.8", true),
        ("/office", "2001:db8::1", true),
        ("/office", "2001:db9::1", false),
        ("/office", "::ffff:192.0.2.7", false),
    ] {
        let response = as_client(&gateway, path, client_ip).await;
        if allowed {
            assert_eq!(response.status(), 200, "{path} {client_ip}");
        } else {
            problem(response, 403, "network_not_allowed").await;
        }
    }
    // Before the token: who is not in the network learns nothing of it.
    let response = as_client(&gateway, "/inside", "198.51.100.1").await;
    problem(response, 403, "network_not_allowed").await;
    let response = as_client(&gateway, "/inside", "192.0.2.1").await;
    problem(response, 401, "unauthenticated").await;
    // Before the limit: a request that was refused has not used it up.
    for _ in 0..3 {
        as_client(&gateway, "/office", "192.0.2.7").await;
    }
    let settings = settings.concat().replace("[\"192.0.2.7/32\"]", "[]");
    gateway.reload(&settings).await;
    let response = as_client(&gateway, "/office", "192.0.2.7").await;
    assert_eq!(response.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_begins_and_ends_with_a_reload() {
    let settings = |enabled: bool| {
        [
            upstream(&[serve_address()]),
            PROXY.to_owned(),
            format!(
                "[maintenance]\nenabled = {enabled}\nretry_after_seconds = 120\n\
                 allowed_networks = [\"192.0.2.0/24\"]\ntext = \"back at noon\"\n"
            ),
            route("a", "/a", ""),
            route("never", "/never", "maintenance = false"),
            route("always", "/always", "maintenance = true"),
            "[routes.health]\npaths = [\"/health\"]\nserve = \"health\"\nauth = \"public\"\n"
                .to_owned(),
        ]
        .concat()
    };
    let upstream = serve(echo()).await;
    let settings = |enabled: bool| settings(enabled).replace("0.0.0.0:1", &upstream.to_string());
    let gateway = Gateway::start(&settings(false)).await;
    let status = async |path: &str| gateway.get(path).await.status().as_u16();
    assert_eq!((status("/a").await, status("/always").await), (200, 503));
    gateway.reload(&settings(true)).await;
    let response = gateway.get("/a").await;
    assert_eq!(response.headers()["retry-after"], "120");
    let body = problem(response, 503, "maintenance").await;
    assert_eq!(body["detail"], "back at noon");
    assert_eq!(
        (status("/never").await, status("/health").await),
        (200, 200)
    );
    let response = as_client(&gateway, "/a", "192.0.2.1").await;
    assert_eq!(response.status(), 200);
    assert_eq!(gateway.admin("/ready").await.status(), 200);
    gateway.reload(&settings(false)).await;
    assert_eq!(status("/a").await, 200);
}

/// Is replaced in the settings.
fn serve_address() -> std::net::SocketAddr {
    "0.0.0.0:1".parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_injected_into_their_share_of_requests() {
    let settings = [
        upstream(&[serve(echo()).await]),
        "[server]\nfault_injection = true\n".to_owned(),
        route("half", "/half", "fault = { percent = 50, status = 502 }"),
        route("slow", "/slow", "fault = { percent = 100, delay_ms = 300 }"),
        route("gone", "/gone", "fault = { percent = 100, abort = true }"),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let mut failed = 0;
    for _ in 0..10 {
        let status = gateway.get("/half").await.status();
        failed += u32::from(status == 502);
        assert!(status == 200 || status == 502, "{status}");
    }
    assert_eq!(failed, 5);
    let started = Instant::now();
    assert_eq!(gateway.get("/slow").await.status(), 200);
    assert!(started.elapsed() >= Duration::from_millis(300));
    let mut stream = TcpStream::connect(gateway.public).await.unwrap();
    stream
        .write_all(b"GET /gone HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut received = Vec::new();
    let read = timeout(DEADLINE, stream.read_to_end(&mut received)).await;
    let _ = read.expect("the connection is closed");
    assert_eq!(String::from_utf8_lossy(&received), "");
    assert_eq!(gateway.access_line("/gone").await["status"], 499);
    let refused = settings.concat().replace("fault_injection = true", "");
    let error = gateway.refused_reload(&refused).await;
    assert!(error.contains("server.fault_injection = true"), "{error}");
}

/// Sets some of the headers itself.
fn page() -> Router {
    Router::new()
        .route(
            "/own",
            any(async || {
                let headers = [
                    ("X-Frame-Options", "DENY"),
                    ("referrer-policy", "no-referrer"),
                    ("strict-transport-security", "max-age=1"),
                ];
                (headers, "ok")
            }),
        )
        .fallback(any(async || "ok"))
}

const SECURE: &str = "X-Forwarded-Proto: https\r\n";
const REFERRER: &str = "strict-origin-when-cross-origin";
/// Path, fields of the request, and the headers of the response in the order of the test.
const SECURITY_HEADERS: [(&str, &str, [&str; 5]); 7] = [
    ("/plain", "", ["nosniff", "sameorigin", REFERRER, "", ""]),
    (
        "/plain",
        SECURE,
        ["nosniff", "sameorigin", REFERRER, "max-age=31536000", ""],
    ),
    (
        "/own",
        SECURE,
        ["nosniff", "deny", "no-referrer", "max-age=1", ""],
    ),
    ("/off", SECURE, ["", "", "", "", ""]),
    (
        "/other",
        "",
        [
            "nosniff",
            "",
            REFERRER,
            "",
            "frame-ancestors https://a.test",
        ],
    ),
    ("/edited", "", ["nosniff", "", "origin", "", ""]),
    // Problems of the gateway, too.
    ("/missing", "", ["nosniff", "sameorigin", REFERRER, "", ""]),
];

#[tokio::test(flavor = "multi_thread")]
async fn security_headers_are_added_where_there_are_none() {
    let settings = [
        upstream(&[serve(page()).await]),
        PROXY.to_owned(),
        route("plain", "/plain", ""),
        route("own", "/own", ""),
        route("off", "/off", "security_headers = false"),
        route(
            "other",
            "/other",
            "security_headers = { frame_options = \"\", content_security_policy = \"frame-ancestors https://a.test\" }",
        ),
        route(
            "edited",
            "/edited",
            "response_headers = { x-frame-options = \"\", referrer-policy = \"origin\" }",
        ),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let values = |response: &RawResponse, name: &str| {
        let name = format!("{name}: ");
        let lines = response.head.lines();
        let values = lines.filter_map(|line| line.strip_prefix(&name));
        values.collect::<Vec<_>>().join("|")
    };
    for (path, fields, expected) in SECURITY_HEADERS {
        let response = get(&gateway, path, fields).await;
        let names = [
            "x-content-type-options",
            "x-frame-options",
            "referrer-policy",
            "strict-transport-security",
            "content-security-policy",
        ];
        let found = names.map(|name| values(&response, name));
        assert_eq!(found, expected, "{path} {fields}");
        let has_permissions = !values(&response, "permissions-policy").is_empty();
        assert_eq!(has_permissions, path != "/off", "{path}");
    }
    let off = [&settings.concat(), "[security_headers]\nenabled = false\n"].concat();
    gateway.reload(&off).await;
    for path in ["/plain", "/missing"] {
        let response = get(&gateway, path, SECURE).await;
        assert_eq!(values(&response, "x-content-type-options"), "", "{path}");
    }
}

/// A scheme that anyone but a trusted proxy names is not believed.
#[tokio::test(flavor = "multi_thread")]
async fn transport_security_is_not_promised_over_plain_http() {
    let settings = [
        upstream(&[serve(page()).await]),
        route("plain", "/plain", ""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let response = get(&gateway, "/plain", "X-Forwarded-Proto: https\r\n").await;
    assert!(
        response.head.contains("x-content-type-options"),
        "{response:?}"
    );
    assert!(!response.head.contains("strict-transport"), "{response:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_set_added_and_set_if_absent() {
    let edits = "x-set = \"s\", x-add = { add = [\"b\", \"c\"] }, x-new = { add = \"n\" }, \
                 x-absent = { if_absent = \"d\" }, x-present = { if_absent = \"d\" }, x-gone = \"\"";
    let upstream_headers = Router::new().fallback(any(async || {
        let headers = [
            ("X-Add", "a"),
            ("X-Present", "p"),
            ("X-Gone", "g"),
            ("X-Set", "u"),
        ];
        (headers, "ok")
    }));
    let settings = [
        upstream(&[serve(echo()).await]),
        format!(
            "[upstreams.v]\naddresses = [\"{}\"]\n",
            serve(upstream_headers).await
        ),
        route(
            "echo",
            "/echo/{id}",
            &format!("request_headers = {{ {edits}, x-id = {{ add = \"id-{{id}}\" }} }}"),
        ),
        route(
            "back",
            "/back",
            &format!("response_headers = {{ {edits} }}"),
        )
        .replace("\"u\"", "\"v\""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let fields = "X-Add: a\r\nX-Present: p\r\nX-Gone: g\r\nX-Set: u\r\n";
    let echoed = get(&gateway, "/echo/7", fields).await;
    let echoed: Value = serde_json::from_str(&echoed.body).unwrap();
    let sent = |name: &str| {
        let pairs = echoed["headers"].as_array().unwrap().iter();
        let values = pairs.filter(|pair| pair[0] == name);
        values
            .map(|pair| pair[1].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let back = get(&gateway, "/back", "").await;
    let returned = |name: &str| {
        let start = format!("{name}: ");
        let lines = back
            .head
            .lines()
            .filter_map(|line| line.strip_prefix(&start));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    for (name, expected) in [
        ("x-set", vec!["s"]),
        ("x-add", vec!["a", "b", "c"]),
        ("x-new", vec!["n"]),
        ("x-absent", vec!["d"]),
        ("x-present", vec!["p"]),
        ("x-gone", vec![]),
    ] {
        assert_eq!(sent(name), expected, "request {name}");
        assert_eq!(returned(name), expected, "response {name}");
    }
    assert_eq!(sent("x-id"), ["id-7"]);
}
