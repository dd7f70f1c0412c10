//! Who may use the admin listener.

use std::{fs, net::SocketAddr, path::Path};

use reqwest::{Certificate, Identity, Method, RequestBuilder};
use serde_json::Value;

use crate::admin_reload::problem_body;
use crate::support::{
    Browser, Gateway, client, command, echo, eventually, free_address, route, serve, upstream,
};

const TOKENS: [&str; 2] = [
    "0123456789abcdef0123456789abcdef",
    "fedcba9876543210fedcba9876543210",
];
const CERTIFICATE: &str = include_str!("support/tls/server.pem");
const KEY: &str = include_str!("support/tls/server.key");
const AUTHORITY: &str = include_str!("support/tls/authority.pem");
const CLIENT_AUTHORITY: &str = include_str!("support/tls/client_authority.pem");
const CLIENT: [&str; 2] = [
    include_str!("support/tls/client.pem"),
    include_str!("support/tls/client.key"),
];
const OTHER_CLIENT: [&str; 2] = [
    include_str!("support/tls/other_client.pem"),
    include_str!("support/tls/other_client.key"),
];

/// Every operation, whether it needs credentials, and the status with them.
const OPERATIONS: [(&str, &str, bool, u16); 23] = [
    ("GET", "/health", false, 200),
    ("GET", "/ready", false, 200),
    ("GET", "/", false, 200),
    ("GET", "/metrics", true, 200),
    ("GET", "/status", true, 200),
    ("GET", "/config", true, 200),
    ("POST", "/reload", true, 200),
    ("GET", "/routes", true, 200),
    ("GET", "/explain", true, 400),
    ("GET", "/upstreams", true, 200),
    (
        "POST",
        "/upstreams/{name}/replicas/{address}/drain",
        true,
        204,
    ),
    (
        "DELETE",
        "/upstreams/{name}/replicas/{address}/drain",
        true,
        204,
    ),
    ("GET", "/limits", true, 200),
    ("GET", "/acme", true, 200),
    ("POST", "/acme/{name}/renew", true, 404),
    ("GET", "/caches", true, 200),
    ("POST", "/caches/purge", true, 422),
    ("GET", "/sessions", true, 400),
    ("DELETE", "/sessions/{session}", true, 400),
    ("POST", "/sessions/revoke", true, 422),
    ("GET", "/log-level", true, 200),
    ("PUT", "/log-level", true, 422),
    ("GET", "/nothing", true, 404),
];

fn tokens(list: &[&str]) -> String {
    format!("[admin]\ntokens = {list:?}\n")
}

fn tls(client_authority: &str) -> String {
    format!(
        "[admin]\ntls_certificate = '''{CERTIFICATE}'''\ntls_key = '''{KEY}'''\n\
         tls_client_ca = '''{client_authority}'''\n"
    )
}

/// The operation on the listener of a gateway, whose upstream `u` has this replica.
fn operation(
    client: &reqwest::Client,
    base: &str,
    (method, path): (&str, &str),
    replica: SocketAddr,
) -> RequestBuilder {
    let path = path.replace("{name}", "u");
    let path = path.replace("{address}", &replica.to_string());
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = client.request(method.clone(), format!("{base}{path}"));
    if [Method::PUT, Method::POST].contains(&method) {
        request.json(&serde_json::json!({}))
    } else {
        request
    }
}

/// A new operation must be in the list above.
#[test]
fn every_operation_is_tried() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/mod.rs");
    let source = fs::read_to_string(source).unwrap();
    let (_, router) = source.split_once("fn router(").unwrap();
    let (router, _) = router.split_once("\n}\n").unwrap();
    let mut paths = router.split('"').skip(1).step_by(2);
    assert_eq!(paths.clone().count(), 17);
    let is_tried = |path: &str| OPERATIONS.iter().any(|(_, tried, _, _)| *tried == path);
    assert!(paths.all(is_tried), "{router}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_but_probes_needs_one_of_the_tokens() {
    let replica = serve(echo()).await;
    let settings = upstream(&[replica]) + &route("all", "/*", "");
    let gateway = Gateway::start(&(settings + &tokens(&TOKENS))).await;
    let base = format!("http://{}", gateway.admin);
    for (method, path, is_closed, status) in OPERATIONS {
        let request = || operation(&client(), &base, (method, path), replica);
        let longer = format!("{}0", TOKENS[0]);
        for wrong in ["", "x", &TOKENS[0][1..], &longer, "Basic"] {
            let mut request = request();
            if !wrong.is_empty() {
                request = request.bearer_auth(wrong);
            }
            let response = request.send().await.unwrap();
            if is_closed {
                assert_eq!(response.headers()["www-authenticate"], "Bearer", "{path}");
                problem_body(response, 401, "unauthenticated").await;
            } else {
                assert_eq!(response.status(), status, "{method} {path} {wrong}");
            }
        }
        for token in TOKENS {
            let response = request().bearer_auth(token).send().await.unwrap();
            assert_eq!(response.status(), status, "{method} {path}");
        }
    }
    let text = eventually("refusals are logged", || async {
        let mut lines = gateway.lines().into_iter();
        lines.find(|line| line["msg"] == "admin request refused")
    });
    assert_eq!(text.await["peer"], "127.0.0.1");
    // One is withdrawn: the file is changed, and the other one asks for the reload.
    let settings = upstream(&[replica]) + &tokens(&TOKENS[1..]);
    fs::write(gateway.file(), settings).unwrap();
    for (token, path, status) in [(1, "reload", 200), (0, "reload", 401), (1, "reload", 200)] {
        let request = client().post(format!("{base}/{path}"));
        let response = request.bearer_auth(TOKENS[token]).send().await.unwrap();
        assert_eq!(response.status(), status, "{token}");
    }
    let text = format!("{:?}", gateway.lines());
    assert!(TOKENS.iter().all(|token| !text.contains(token)));
}

fn tls_client(gateway: &Gateway, identity: Option<[&str; 2]>) -> reqwest::Client {
    let authority = Certificate::from_pem(AUTHORITY.as_bytes()).unwrap();
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .resolve("upstream.test", gateway.admin)
        .tls_certs_only([authority]);
    if let Some(pem) = identity {
        builder = builder.identity(Identity::from_pem(pem.concat().as_bytes()).unwrap());
    }
    builder.build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_of_the_authority_is_as_good_as_a_token() {
    let replica = serve(echo()).await;
    let settings = upstream(&[replica]) + &route("all", "/*", "");
    let both = format!(
        "{}{}tokens = [\"{}\"]\n",
        settings,
        tls(CLIENT_AUTHORITY),
        TOKENS[0]
    );
    let gateway = Gateway::start(&both).await;
    let base = format!("https://upstream.test:{}", gateway.admin.port());
    let [known, unknown] = [Some(CLIENT), None].map(|identity| tls_client(&gateway, identity));
    for (method, path, is_closed, status) in OPERATIONS {
        let ask = |client: &reqwest::Client| operation(client, &base, (method, path), replica);
        assert_eq!(ask(&known).send().await.unwrap().status(), status, "{path}");
        let expected = if is_closed { 401 } else { status };
        assert_eq!(
            ask(&unknown).send().await.unwrap().status(),
            expected,
            "{path}"
        );
        let token = ask(&unknown).bearer_auth(TOKENS[0]).send().await.unwrap();
        assert_eq!(token.status(), status, "{path}");
    }
    let other = tls_client(&gateway, Some(OTHER_CLIENT));
    assert!(other.get(format!("{base}/health")).send().await.is_err());
    // Nothing is served without TLS.
    let plain = client().get(format!("http://{}/health", gateway.admin));
    assert!(plain.send().await.is_err());
    // The container's check and `top` know the certificate from the configuration.
    for arguments in [
        &["healthcheck", "--ready"][..],
        &["top", "--once", "--interval", "1"],
    ] {
        let output = command()
            .args(arguments)
            .arg("--config")
            .arg(gateway.file())
            .env("QUARTET_SERVER_ADMIN_LISTEN", gateway.admin.to_string())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {text}");
    }
    // Another authority counts for connections that are open, too.
    let others = settings + &tls(include_str!("support/tls/other_authority.pem"));
    fs::write(gateway.file(), others).unwrap();
    let reload = known.post(format!("{base}/reload")).send().await.unwrap();
    assert_eq!(reload.status(), 200);
    let after = known.get(format!("{base}/config")).send().await;
    // Refused in the handshake, or on the connection that was open.
    assert!(after.is_err() || after.unwrap().status() == 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_the_listener_are_replaced_by_a_reload() {
    let settings = upstream(&[serve(echo()).await]);
    let gateway = Gateway::start(&(settings.clone() + &tls(CLIENT_AUTHORITY))).await;
    let base = format!("https://upstream.test:{}", gateway.admin.port());
    let known = tls_client(&gateway, Some(CLIENT));
    // The configuration is the same: the open connection stays verified.
    for _ in 0..2 {
        let reload = known.post(format!("{base}/reload")).send().await.unwrap();
        assert_eq!(reload.status(), 200);
    }
    fs::write(gateway.file(), settings + &tokens(&TOKENS)).unwrap();
    let reload = known.post(format!("{base}/reload")).send().await.unwrap();
    assert_eq!(reload.status(), 200);
    let plain = client().get(format!("http://{}/config", gateway.admin));
    let response = plain.bearer_auth(TOKENS[0]).send().await.unwrap();
    assert_eq!(response.status(), 200);
}

#[test]
fn another_address_than_loopback_needs_credentials() {
    let check = |listen: &str, settings: &str| {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("gateway.toml");
        fs::write(&file, settings).unwrap();
        let output = command()
            .args(["check", "--config", file.to_str().unwrap()])
            .env("QUARTET_SERVER_ADMIN_LISTEN", listen)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        (!output.status.success()).then_some(text)
    };
    for (listen, is_loopback) in [
        ("127.0.0.1:9080", true),
        ("127.3.2.1:9080", true),
        ("[::1]:9080", true),
        ("[::ffff:127.0.0.1]:9080", true),
        ("0.0.0.0:9080", false),
        ("[::]:9080", false),
        ("10.0.0.1:9080", false),
    ] {
        let error = check(listen, "");
        assert_eq!(error.is_none(), is_loopback, "{listen}: {error:?}");
        if let Some(error) = error {
            assert!(error.contains("server.admin_listen"), "{error}");
            assert!(error.contains("admin.tokens"), "{error}");
        }
        assert_eq!(check(listen, &tokens(&TOKENS)), None, "{listen}");
        assert_eq!(check(listen, &tls(CLIENT_AUTHORITY)), None, "{listen}");
        // TLS alone says nothing about who connects.
        let only_tls = tls("");
        assert_eq!(check(listen, &only_tls).is_none(), is_loopback, "{listen}");
    }
    let short = &TOKENS[0][1..];
    for (settings, key, rule) in [
        (tokens(&[short]), "admin.tokens[0]", "32 to 512 bytes"),
        (
            tokens(&[TOKENS[0], &TOKENS[1].replace('f', " ")]),
            "admin.tokens[1]",
            "letters",
        ),
        (tokens(&[TOKENS[0]; 17]), "admin.tokens", "at most 16"),
        (
            format!("[admin]\ntls_client_ca = '''{AUTHORITY}'''\n"),
            "admin.tls_client_ca",
            "needs",
        ),
        (
            format!("[admin]\ntls_certificate = '''{AUTHORITY}'''\n"),
            "admin.tls_certificate",
            "needs tls_key",
        ),
        (tls("x"), "admin.tls_client_ca", "PEM"),
        (
            tls("").replace(KEY, CLIENT[1]),
            "admin.tls_key",
            "key of tls_certificate",
        ),
    ] {
        let error = check("127.0.0.1:1", &settings).unwrap();
        assert!(
            error.contains(&format!("`{key}`")) && error.contains(rule),
            "{error}"
        );
        assert!(!error.contains(short), "{error}");
        assert!(!error.contains("PRIVATE"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_metrics_alone_are_at_their_own_listener() {
    let probes = free_address();
    let settings = upstream(&[serve(echo()).await]) + &tokens(&TOKENS);
    let variable = ("QUARTET_SERVER_PROBE_LISTEN", &*probes.to_string());
    let gateway = Gateway::with_variables(&settings, &[variable]).await;
    for (method, path, _, _) in OPERATIONS {
        let base = format!("http://{probes}");
        let replica = free_address();
        let request = operation(&client(), &base, (method, path), replica);
        let response = request.header("host", "gateway:9080").send().await.unwrap();
        let expected = match path {
            "/health" | "/ready" | "/metrics" => 200,
            _ => 404,
        };
        assert_eq!(response.status(), expected, "{method} {path}");
    }
    let metrics = format!("http://{}/metrics", gateway.admin);
    assert_eq!(client().get(metrics).send().await.unwrap().status(), 401);
}

/// Method and path.
type Endpoint = (&'static str, &'static str);
/// Name and value.
type Header = (&'static str, &'static str);

const DRAIN: Endpoint = ("POST", "/upstreams/{name}/replicas/{address}/drain");

/// What a browser or program sends, and whether it is refused. `OWN` stands for the listener.
const SENDERS: [(Endpoint, &[Header], bool); 17] = [
    (DRAIN, &[], false),
    (DRAIN, &[("origin", "http://OWN")], false),
    (
        DRAIN,
        &[("sec-fetch-site", "same-origin"), ("origin", "http://OWN")],
        false,
    ),
    (DRAIN, &[("origin", "https://example.org")], true),
    (DRAIN, &[("origin", "null")], true),
    (DRAIN, &[("sec-fetch-site", "cross-site")], true),
    (
        DRAIN,
        &[("sec-fetch-site", "same-site"), ("origin", "http://OWN")],
        true,
    ),
    (
        DRAIN,
        &[
            ("host", "attacker.example.org"),
            ("origin", "http://attacker.example.org"),
        ],
        true,
    ),
    (
        DRAIN,
        &[
            ("host", "attacker.example.org"),
            ("sec-fetch-site", "same-origin"),
        ],
        true,
    ),
    (
        ("GET", "/config"),
        &[("host", "attacker.example.org")],
        true,
    ),
    (
        ("GET", "/metrics"),
        &[("host", "attacker.example.org")],
        true,
    ),
    (("GET", "/"), &[("host", "attacker.example.org")], true),
    (
        ("GET", "/config"),
        &[
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "no-cors"),
        ],
        true,
    ),
    (("GET", "/config"), &[("host", "localhost:1")], false),
    (
        ("GET", "/"),
        &[
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
        ],
        false,
    ),
    (("GET", "/ready"), &[("host", "gateway.internal")], false),
    (("GET", "/config"), &[("host", "OWN")], false),
];

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_and_names_are_refused() {
    let replica = serve(echo()).await;
    let gateway = Gateway::start(&upstream(&[replica])).await;
    let own = gateway.admin.to_string();
    for (what, headers, is_refused) in SENDERS {
        let mut request = operation(&client(), &format!("http://{own}"), what, replica);
        for (name, value) in headers {
            request = request.header(*name, value.replace("OWN", &own));
        }
        let response = request.send().await.unwrap();
        if is_refused {
            problem_body(response, 403, "cross_site_request").await;
        } else {
            assert!(response.status().is_success(), "{what:?} {headers:?}");
        }
    }
}

/// What the page of another site tries, and whether the browser let it.
const PAGE: &str = r#"<!doctype html><script type="module">
const admin = "ADMIN", found = [];
for (const [path, mode] of [["drain", "no-cors"], ["drain", "cors"], ["reload", "no-cors"]]) {
  const url = path === "drain" ? `${admin}/upstreams/u/replicas/REPLICA/drain` : `${admin}/${path}`;
  try { found.push((await fetch(url, { method: "POST", mode })).type); } catch { found.push("refused"); }
}
const form = Object.assign(document.createElement("form"), { method: "post", target: "frame",
  action: `${admin}/upstreams/u/replicas/REPLICA/drain` });
const frame = Object.assign(document.createElement("iframe"), { name: "frame" });
document.body.append(form, frame);
frame.onload = () => { if (found.length === 3) { found.push("sent"); window.found = found; } };
form.submit();
</script>"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_the_operators_browser_drains_nothing() {
    let replica = serve(echo()).await;
    let gateway = Gateway::start(&(upstream(&[replica]) + &route("all", "/*", ""))).await;
    let page = PAGE
        .replace("ADMIN", &format!("http://{}", gateway.admin))
        .replace("REPLICA", &replica.to_string());
    let site = axum::Router::new().fallback(async move || axum::response::Html(page.clone()));
    let site = format!("http://app.example.org:{}", serve(site).await.port());
    let Some(browser) = Browser::open(&site) else {
        return;
    };
    browser.until("window.found?.length === 4").await;
    eventually("the attempts are refused", || async {
        let lines = gateway.lines().into_iter();
        let refused = lines.filter(|line| line["msg"] == "admin request refused");
        let refused = refused.filter(|line| line["code"] == "cross_site_request");
        (refused.count() >= 3).then_some(())
    })
    .await;
    let shown: Value = gateway.admin("/upstreams").await.json().await.unwrap();
    assert_eq!(shown["upstreams"][0]["replicas"][0]["state"], "healthy");
    assert!(gateway.reloads("applied").await < 1.0);
}
