//! The configurations of docs/gateway.md for those who come from another proxy: each is a file in `examples`, runs with
//! the addresses of the test in place of its own, and does what the guide says.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{any, get},
};
use futures_util::{SinkExt as _, StreamExt as _};
use http::Method;
use reqwest::RequestBuilder;
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

use crate::support::{
    CLIENT_SECRET, Certificates, Gateway, Provider, RawResponse, client, echo, eventually,
    exchange, free_address, problem, read_next, serve, shake,
    sites::{Files, HTML},
};

const SESSION: (&str, &str) = ("cookie", "session=ada");
const CERTIFICATE: &str = "\n[certificates.app]\ncertificate_path = \"/etc/quartet/tls/tls.crt\"\n\
    key_path = \"/etc/quartet/tls/tls.key\"\n";
/// More requests than any limit here admits at once.
const MANY: usize = 90;

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    std::fs::read_to_string(path.join(name)).unwrap()
}

#[test]
fn the_guide_shows_the_examples_as_they_are() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/gateway.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let names = ["traefik", "oauth2_proxy", "ingress_nginx", "caddy"];
    for name in names.map(|it| format!("from_{it}.toml")) {
        let block = format!("```toml\n{}```\n", example(&name));
        assert!(
            guide.contains(&block),
            "docs/gateway.md differs from {name}"
        );
    }
    // No other configuration of the gateway, which no test would run.
    assert_eq!(guide.matches("```toml\n").count(), names.len());
}

/// A gateway with an example, and a browser's view of it.
struct Moved {
    _gateway: Gateway,
    host: &'static str,
    plain: SocketAddr,
    tls: SocketAddr,
    files: Certificates,
    client: reqwest::Client,
}

impl Moved {
    /// `changes` are texts of the example, and what stands in place of them.
    async fn start(
        name: &str,
        host: &'static str,
        changes: &[(&str, String)],
        variables: &[(&str, &str)],
    ) -> Self {
        let files = Certificates::new();
        let mut text = example(name);
        for (from, to) in changes {
            assert!(text.contains(from), "{name}: {from}");
            text = text.replace(from, to);
        }
        if text.contains("[acme]") {
            // No authority answers here.
            let rest = text.split("\n\n").filter(|it| !it.contains("[acme"));
            text = rest.collect::<Vec<_>>().join("\n\n") + CERTIFICATE;
        }
        let mut text = files.in_place(&text, &[host]);
        let (plain, tls) = (free_address(), free_address());
        for (from, to) in [("0.0.0.0:8080", plain), ("0.0.0.0:8443", tls)] {
            assert!(text.contains(from), "{name}: {from}");
            text = text.replace(from, &to.to_string());
        }
        let variables = [&[("QUARTET_SERVER_LISTEN", "")][..], variables].concat();
        Self {
            _gateway: Gateway::with_variables(&text, &variables).await,
            client: files.client(&[host], tls).http1_only().build().unwrap(),
            host,
            plain,
            tls,
            files,
        }
    }

    /// A client of its own, with this address.
    fn client_at(&self, address: Ipv4Addr) -> reqwest::Client {
        let builder = self.files.client(&[self.host], self.tls).http1_only();
        builder.local_address(Some(address.into())).build().unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}:{}{path}", self.host, self.tls.port())
    }

    fn request(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> RequestBuilder {
        let request = self.client.request(method, self.url(path));
        // The port of the test is not part of the public URL.
        let request = request.header("host", self.host);
        headers
            .iter()
            .fold(request, |it, (name, value)| it.header(*name, *value))
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        let request = self.request(Method::GET, path, headers);
        request.send().await.unwrap()
    }

    /// Plain requests are redirected to the same URL with HTTPS.
    async fn assert_redirects(&self) {
        let request = format!("GET /api/x?y=1 HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        let response = exchange(self.plain, request.as_bytes()).await;
        assert_eq!(response.status, 308);
        let location = format!("\r\nlocation: https://{}/api/x?y=1\r\n", self.host);
        assert!(response.head.contains(&location), "{response:?}");
    }

    /// What a POST gets that announces a body of this length, and sends nothing of it.
    async fn announce(&self, path: &str, length: u64) -> RawResponse {
        let stream = TcpStream::connect(self.tls).await.unwrap();
        let config = self.files.client_config(None);
        let mut stream = shake(stream, config, self.host).await.unwrap();
        let host = self.host;
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        read_next(&mut stream, &mut Vec::new()).await
    }

    /// Asks until a request is refused, and checks that at least `at_once` were not.
    async fn assert_limited(&self, path: &str, headers: &[(&str, &str)], at_once: usize) {
        for count in 0..MANY {
            let response = self.get(path, headers).await;
            if response.status() == 429 {
                assert!(count >= at_once, "refused after {count}");
                return;
            }
            assert_eq!(response.status(), 200);
        }
        panic!("{MANY} requests in a row are not limited");
    }
}

fn location(response: &reqwest::Response) -> &str {
    response.headers()["location"].to_str().unwrap()
}

/// What the upstream got under this name.
fn sent<'v>(echoed: &'v Value, name: &str) -> Vec<&'v str> {
    let all = echoed["headers"].as_array().unwrap().iter();
    let named = all.filter(|field| field[0] == name);
    named.map(|field| field[1].as_str().unwrap()).collect()
}

/// Responds to everything with its name.
async fn named(name: &'static str) -> SocketAddr {
    serve(Router::new().fallback(any(move || async move { name }))).await
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

/// A service that knows Ada by her cookie, and sends others to a login, as Authelia and oauth2-proxy do.
async fn decider(user_header: &'static str) -> SocketAddr {
    let decide = async move |request: Request| -> Response {
        if request.uri().path().starts_with("/oauth2/") {
            return "the login".into_response();
        }
        let headers = request.headers();
        let mut cookies = text(headers, "cookie").split("; ");
        if cookies.any(|cookie| cookie == "session=ada") {
            return [(user_header, "ada")].into_response();
        }
        let back = format!(
            "https://sso.example.org/?rd={}://{}{}",
            text(headers, "x-forwarded-proto"),
            text(headers, "x-forwarded-host"),
            text(headers, "x-forwarded-uri")
        );
        let headers = [("location", back), ("set-cookie", "flow=1".to_owned())];
        (StatusCode::FOUND, headers).into_response()
    };
    serve(Router::new().fallback(any(decide))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn from_traefik() {
    let changes = [
        ("api:8000", serve(echo()).await.to_string()),
        ("shop-v1:8080", named("v1").await.to_string()),
        ("shop-v2:8080", named("v2").await.to_string()),
        ("authelia:9091", decider("remote-user").await.to_string()),
    ];
    let moved = Moved::start("from_traefik.toml", "app.example.org", &changes, &[]).await;
    moved.assert_redirects().await;
    // forwardAuth: its redirect is the client's.
    let login = moved.get("/api/x?y=1", &[]).await;
    assert_eq!(login.status(), 302);
    let back = "https://sso.example.org/?rd=https://app.example.org/api/x?y=1";
    assert_eq!(location(&login), back);
    // stripPrefix, headers, and the user that only the service can name.
    let passed = moved
        .get("/api/x?y=1", &[SESSION, ("remote-user", "mallory")])
        .await;
    assert_eq!(passed.status(), 200);
    for (name, value) in [
        ("x-robots-tag", "noindex"),
        ("x-frame-options", "DENY"),
        ("strict-transport-security", "max-age=31536000"),
    ] {
        assert_eq!(passed.headers()[name], value);
    }
    let echoed: Value = passed.json().await.unwrap();
    assert_eq!(echoed["path"], "/x?y=1");
    for (name, value) in [
        ("x-forwarded-prefix", "/api"),
        ("x-forwarded-proto", "https"),
        ("x-environment", "production"),
        ("remote-user", "ada"),
    ] {
        assert_eq!(sent(&echoed, name), [value], "{name}");
    }
    // rateLimit: of the two requests before, one may be back by now.
    moved.assert_limited("/api/x", &[SESSION], 18).await;
    // weighted, with a sticky cookie. Other routes have no part in that limit.
    let mut versions = BTreeMap::new();
    let mut cookie = String::new();
    for _ in 0..10 {
        let response = moved.get("/", &[]).await;
        let set = text(response.headers(), "set-cookie");
        assert!(set.starts_with("shop_version="), "{set}");
        set.split(';').next().unwrap().clone_into(&mut cookie);
        *versions.entry(response.text().await.unwrap()).or_insert(0) += 1;
    }
    assert_eq!(
        versions,
        [("v1".to_owned(), 9), ("v2".to_owned(), 1)].into()
    );
    let mut kept = BTreeSet::new();
    for _ in 0..20 {
        let response = moved.get("/", &[("cookie", &cookie)]).await;
        kept.insert(response.text().await.unwrap());
    }
    assert_eq!(kept.len(), 1, "{kept:?}");
}

/// Says which path it was asked for, in a WebSocket.
async fn sockets() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut path = String::new();
                let note = |request: &http::Request<()>, response| {
                    request.uri().path().clone_into(&mut path);
                    Ok(response)
                };
                let socket = tokio_tungstenite::accept_hdr_async(stream, note).await;
                let _ = socket.unwrap().send(Message::from(path)).await;
            });
        }
    });
    address
}

/// Goes through the login from this page: the redirect at its end, and the cookie of the session.
async fn log_in(moved: &Moved, page: &str) -> (String, String) {
    let begun = moved.get(page, &[HTML]).await;
    let flow = text(begun.headers(), "set-cookie")
        .split(';')
        .next()
        .unwrap();
    let back = client().get(location(&begun)).send().await.unwrap();
    let back = location(&back).strip_prefix("https://app.example.org");
    let back = back.unwrap().to_owned();
    // The redirect URI that the provider knew before.
    assert!(back.starts_with("/oauth2/callback?"), "{back}");
    let ended = moved.get(&back, &[("cookie", flow), HTML]).await;
    let mut pairs = Vec::new();
    for value in ended.headers().get_all("set-cookie") {
        let value = value.to_str().unwrap();
        if !value.contains("Max-Age=0") {
            pairs.push(value.split(';').next().unwrap());
        }
    }
    (location(&ended).to_owned(), pairs.join("; "))
}

#[tokio::test(flavor = "multi_thread")]
async fn from_nginx_and_oauth2_proxy() {
    let provider = Provider::start().await;
    let files = Files::new(&[("index.html", "<p>app</p>"), ("app.js", "app()")]);
    files.write("secret", CLIENT_SECRET.as_bytes());
    let secret = files.path("secret");
    let changes = [
        ("api:8000", serve(echo()).await.to_string()),
        ("live:8001", sockets().await.to_string()),
        ("/srv/app", files.path("site").to_str().unwrap().to_owned()),
        ("https://sso.example.org/realms/staff", provider.url()),
    ];
    let variables = [(
        "QUARTET_LOGINS_APP_CLIENT_SECRET_FILE",
        secret.to_str().unwrap(),
    )];
    let (file, host) = ("from_oauth2_proxy.toml", "app.example.org");
    let moved = Moved::start(file, host, &changes, &variables).await;
    moved.assert_redirects().await;
    // A script gets 401, a page the login, and then itself.
    problem(moved.get("/api/x", &[]).await, 401, "login_required").await;
    let (page, session) = log_in(&moved, "/items/5").await;
    assert_eq!(page, "/items/5");
    let cookie = ("cookie", &*session);
    // try_files: a page for paths without a file; a missing script stays missing.
    for (path, status, body) in [
        ("/items/5", 200, Some("<p>app</p>")),
        ("/app.js", 200, Some("app()")),
        ("/missing.js", 404, None),
    ] {
        let response = moved.get(path, &[cookie, HTML]).await;
        assert_eq!(response.status(), status, "{path}");
        let found = response.text().await.unwrap();
        assert!(body.is_none_or(|body| found == body), "{path}: {found}");
    }
    assert_eq!(moved.get("/oauth2/auth", &[cookie]).await.status(), 202);
    let forged = [cookie, ("x-email", "mallory@example.org")];
    let echoed: Value = moved.get("/api/x", &forged).await.json().await.unwrap();
    assert_eq!(echoed["path"], "/x");
    assert_eq!(sent(&echoed, "x-email"), ["ada@example.org"]);
    // client_max_body_size.
    let refused = moved.announce("/api/x", 20_971_521).await;
    refused.problem(413, "body_too_large");
    // What oauth2-proxy does not look at: whose page sends the request.
    for (site, status) in [("cross-site", 403), ("same-origin", 200)] {
        let post = moved.request(Method::POST, "/api/x", &[cookie, ("sec-fetch-site", site)]);
        assert_eq!(post.body("x").send().await.unwrap().status(), status);
    }
    moved.assert_limited("/api/x", &[cookie], 15).await;
    // The WebSocket, which has no limit.
    let mut request = "wss://app.example.org/api/live"
        .into_client_request()
        .unwrap();
    let headers = request.headers_mut();
    headers.insert("cookie", session.parse().unwrap());
    headers.insert("origin", "https://app.example.org".parse().unwrap());
    let stream = TcpStream::connect(moved.tls).await.unwrap();
    let config = moved.files.client_config(None);
    let stream = shake(stream, config, host).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream)
        .await
        .unwrap();
    let message = socket.next().await.unwrap().unwrap();
    assert_eq!(message, Message::from("/live"));
}

#[tokio::test(flavor = "multi_thread")]
async fn from_ingress_nginx() {
    let pods = [named("a").await, named("b").await].map(|it| format!("\"{it}\""));
    let login = decider("x-auth-request-user").await.to_string();
    let changes = [
        (
            "\"shop-headless.shop.svc.cluster.local:8000\"",
            pods.join(", "),
        ),
        (
            "shop-canary-headless.shop.svc.cluster.local:8000",
            serve(echo()).await.to_string(),
        ),
        ("oauth2-proxy.auth.svc.cluster.local:4180", login),
    ];
    let (file, host) = ("from_ingress_nginx.toml", "shop.example.org");
    let moved = Moved::start(file, host, &changes, &[]).await;
    moved.assert_redirects().await;
    // auth-signin, with the cookie of the flow, and its pages.
    let begun = moved.get("/api/x", &[]).await;
    assert_eq!(begun.status(), 302);
    assert_eq!(begun.headers()["set-cookie"], "flow=1");
    let page = moved.get("/oauth2/callback?code=1", &[]).await;
    assert_eq!(page.text().await.unwrap(), "the login");
    // affinity, and canary-weight: exactly ten of a hundred, of twenty clients.
    let (mut canaries, mut reached) = (0, BTreeSet::new());
    for number in 0..20 {
        let client = moved.client_at(Ipv4Addr::new(127, 0, 1, number));
        let cookies = format!("session=ada; shop_session={number}");
        let mut pods = BTreeSet::new();
        for _ in 0..5 {
            let request = client.get(moved.url("/api/x")).header("host", host);
            let response = request.header("cookie", &cookies).send().await.unwrap();
            assert_eq!(response.status(), 200);
            let body = response.text().await.unwrap();
            if body.starts_with('{') {
                canaries += 1;
            } else {
                pods.insert(body);
            }
        }
        assert!(pods.len() < 2, "{number}: {pods:?}");
        reached.extend(pods);
    }
    assert_eq!((canaries, reached.len()), (10, 2));
    // canary-by-header, rewrite-target, auth-response-headers.
    let canary = [SESSION, ("x-canary", "always")];
    let echoed: Value = moved.get("/api/x", &canary).await.json().await.unwrap();
    assert_eq!(echoed["path"], "/x");
    assert_eq!(sent(&echoed, "x-auth-request-user"), ["ada"]);
    // enable-cors: a preflight is not asked for a session.
    for (origin, status) in [
        ("https://admin.example.org", 204),
        ("https://evil.example", 403),
    ] {
        let asked = [("origin", origin), ("access-control-request-method", "PUT")];
        let answer = moved.request(Method::OPTIONS, "/api/x", &asked);
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), status, "{origin}");
        let allowed = text(answer.headers(), "access-control-allow-origin");
        assert_eq!(allowed == origin, status == 204, "{allowed}");
    }
    // proxy-body-size, limit-rps.
    let refused = moved.announce("/api/x", 8_388_609).await;
    refused.problem(413, "body_too_large");
    moved.assert_limited("/api/x", &canary, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_caddy() {
    let long = "app();".repeat(1000);
    let files = Files::new(&[("index.html", "<p>app</p>"), ("app.js", &long)]);
    let ill = Router::new()
        .route(
            "/healthz",
            get(|| async { StatusCode::SERVICE_UNAVAILABLE }),
        )
        .fallback(any(|| async { "ill" }));
    let changes = [
        ("api-1:8000", serve(echo()).await.to_string()),
        ("api-2:8000", serve(ill).await.to_string()),
        ("admin:9000", serve(echo()).await.to_string()),
        ("authelia:9091", decider("remote-user").await.to_string()),
        ("/srv/app", files.path("site").to_str().unwrap().to_owned()),
    ];
    let moved = Moved::start("from_caddy.toml", "app.example.org", &changes, &[]).await;
    moved.assert_redirects().await;
    // try_files, file_server, encode.
    let page = moved.get("/items/5", &[HTML]).await;
    assert_eq!(page.text().await.unwrap(), "<p>app</p>");
    assert_eq!(moved.get("/missing.js", &[]).await.status(), 404);
    let script = moved.get("/app.js", &[("accept-encoding", "gzip")]).await;
    assert_eq!(script.headers()["content-encoding"], "gzip");
    assert!(script.bytes().await.unwrap().len() < long.len());
    // health_uri: the replica that is ill has no requests after its check.
    eventually("one replica is used", || async {
        for _ in 0..10 {
            let response = moved.get("/api/x", &[]).await;
            if response.text().await.unwrap() == "ill" {
                return None;
            }
        }
        Some(())
    })
    .await;
    // handle_path.
    let echoed: Value = moved.get("/api/x?y=1", &[]).await.json().await.unwrap();
    assert_eq!(echoed["path"], "/x?y=1");
    // forward_auth, with the whole path.
    assert_eq!(moved.get("/admin/x", &[]).await.status(), 302);
    let forged = [SESSION, ("remote-user", "mallory")];
    let echoed: Value = moved.get("/admin/x", &forged).await.json().await.unwrap();
    assert_eq!(echoed["path"], "/admin/x");
    assert_eq!(sent(&echoed, "remote-user"), ["ada"]);
    assert!(sent(&echoed, "remote-groups").is_empty());
}
