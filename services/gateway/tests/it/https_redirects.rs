//! Requests without TLS that are sent to the same URL with it.

use crate::support::{Certificates, TlsGateway, echo, exchange, route, serve, upstream};

async fn settings(files: &Certificates, of_route: &str) -> String {
    [
        upstream(&[serve(echo()).await]),
        route("all", "/*", of_route),
        route("other", "/other/*", ""),
        "[routes.health]\npaths = [\"/health\"]\nserve = \"health\"\nauth = \"public\"\n"
            .to_owned(),
        files.table("a", &["a.test"], ""),
    ]
    .concat()
}

async fn ask(
    gateway: &TlsGateway,
    method: &str,
    target: &str,
    more: &str,
) -> (u16, Option<String>) {
    let request = format!("{method} {target} HTTP/1.1\r\nHost: A.test:80\r\n{more}\r\n");
    let response = exchange(gateway.plain, request.as_bytes()).await;
    let mut lines = response.head.lines();
    let location = lines.find_map(|line| line.strip_prefix("location: "));
    (response.status, location.map(str::to_owned))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_redirects_all_but_challenges_and_health() {
    let files = Certificates::new();
    let text = settings(&files, "").await;
    let gateway = TlsGateway::start_with(&text, "redirect_to_https = true", "").await;
    for (method, target, expected) in [
        ("GET", "/", Some("https://a.test/")),
        ("GET", "/x?y=z", Some("https://a.test/x?y=z")),
        ("POST", "/x", Some("https://a.test/x")),
        ("GET", "/other/x", Some("https://a.test/other/x")),
        ("GET", "http://a.test:80/x", Some("https://a.test/x")),
        ("GET", "/%2e%2e/x", Some("https://a.test/%2e%2e/x")),
        (
            "GET",
            "/.well-known/other",
            Some("https://a.test/.well-known/other"),
        ),
        ("GET", "/.well-known/acme-challenge/token", None),
        ("GET", "/health", None),
    ] {
        let (status, location) = ask(&gateway, method, target, "").await;
        let expected = (if expected.is_some() { 308 } else { 200 }, expected);
        assert_eq!((status, location.as_deref()), expected, "{method} {target}");
    }
    // Over TLS, requests are served.
    let client = files.client(&["a.test"], gateway.tls).build().unwrap();
    let url = format!("https://a.test:{}/x", gateway.tls.port());
    assert_eq!(client.get(url).send().await.unwrap().status(), 200);
    let text = gateway.settings(&format!("{text}\n[tls]\nhttps_port = 8443\n"));
    gateway.gateway.reload(&text).await;
    let (_, location) = ask(&gateway, "GET", "/x", "").await;
    assert_eq!(location.as_deref(), Some("https://a.test:8443/x"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_redirects_what_no_proxy_has_received_with_tls() {
    let files = Certificates::new();
    let text = settings(&files, "redirect_to_https = true").await;
    let text = format!("{text}\n[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\n");
    let gateway = TlsGateway::start(&text).await;
    for (target, more, expected) in [
        ("/x", "", 308),
        ("/x", "X-Forwarded-Proto: http\r\n", 308),
        ("/x", "X-Forwarded-Proto: https\r\n", 200),
        ("/other/x", "", 200),
        ("/.well-known/acme-challenge/token", "", 200),
        ("/health", "", 200),
    ] {
        let (status, _) = ask(&gateway, "GET", target, more).await;
        assert_eq!(status, expected, "{target} {more}");
    }
    // The host is the one that the proxy was asked for.
    let (_, location) = ask(&gateway, "GET", "/x", "X-Forwarded-Host: b.test\r\n").await;
    assert_eq!(location.as_deref(), Some("https://b.test/x"));
}
