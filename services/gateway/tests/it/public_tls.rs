//! TLS on the public listeners: handshakes, certificates by name, and requests over both paths.

use std::{net::SocketAddr, path::Path, sync::Arc};

use axum::{Router, body::Body, response::Response, routing::get};
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::{
    ClientConfig, HandshakeKind,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{
    Certificates, DEADLINE, DIRECT, Gateway, TlsGateway, command, echo, eventually, exchange,
    free_address, read_next, route, serve, shake, upstream,
};

const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// A public route to an upstream that echoes.
async fn echoing() -> String {
    [upstream(&[serve(echo()).await]), route("all", "/*", "")].concat()
}

fn failures(reason: &str) -> String {
    format!("gateway_tls_handshake_failures_total{{service=\"gateway\",reason=\"{reason}\"}}")
}

/// Waits until this many handshakes have failed for one of these reasons: clients see it before it is counted.
async fn have_failed(gateway: &TlsGateway, reasons: &[&str], count: usize) {
    eventually(&format!("{count} are {reasons:?}"), || async {
        let mut failed = 0;
        for reason in reasons {
            failed += gateway.gateway.count(&failures(reason)).await;
        }
        (failed == count).then_some(())
    })
    .await;
}

fn header<'e>(echoed: &'e Value, name: &str) -> Vec<&'e str> {
    let pairs = echoed["headers"].as_array().unwrap().iter();
    let values = pairs.filter(|pair| pair[0] == name);
    values.map(|pair| pair[1].as_str().unwrap()).collect()
}

/// The certificate that a client gets that asks for this name.
async fn certificate(gateway: &TlsGateway, config: &ClientConfig, name: &str) -> Option<Vec<u8>> {
    let stream = gateway.connect(config.clone(), name).await.ok()?;
    let chain = stream.get_ref().1.peer_certificates().unwrap();
    Some(chain[0].to_vec())
}

fn der(certificates: &Certificates, file: &str) -> Vec<u8> {
    let pem = std::fs::read(certificates.path(file)).unwrap();
    CertificateDer::from_pem_slice(&pem).unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_get_the_certificate_of_the_name_that_they_ask_for() {
    let files = Certificates::new();
    let tables = [
        echoing().await,
        files.table("a", &["a.test", "127.0.0.1"], ""),
        files.table(
            "wildcard",
            &["*.w.test", "*.test"],
            "hosts = [\"*.w.test\"]",
        ),
        files.table("exact", &["x.w.test"], ""),
        files.table("narrow", &["b.test", "c.test"], "hosts = [\"b.test\"]"),
    ]
    .concat();
    let gateway = TlsGateway::start(&tables).await;
    let config = files.client_config(None);
    for (name, expected) in [
        ("a.test", Some("a.pem")),
        ("A.Test", Some("a.pem")),
        ("y.w.test", Some("wildcard.pem")),
        ("x.w.test", Some("exact.pem")),
        ("b.test", Some("narrow.pem")),
        ("c.test", None),
        ("w.test", None),
        ("z.y.w.test", None),
        ("127.0.0.1", None),
    ] {
        let found = certificate(&gateway, &config, name).await;
        assert_eq!(found, expected.map(|file| der(&files, file)), "{name}");
    }
    have_failed(&gateway, &["unknown_name"], 4).await;
    // The refusal says why.
    let refused = gateway.connect(config.clone(), "c.test").await.unwrap_err();
    assert!(
        refused.to_string().contains("UnrecognisedName"),
        "{refused}"
    );
    let tables = gateway.settings(&format!("{tables}\n[tls]\ndefault_certificate = \"a\"\n"));
    gateway.gateway.reload(&tables).await;
    let found = certificate(&gateway, &config, "127.0.0.1").await;
    assert_eq!(found, Some(der(&files, "a.pem")));
    // A name that no certificate is for gets none that it would refuse.
    assert_eq!(certificate(&gateway, &config, "c.test").await, None);
}

fn with_provider(
    files: &Certificates,
    provider: rustls::crypto::CryptoProvider,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(files.authority.certificate().as_bytes());
    roots.add(authority.unwrap()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_over_tls_are_served_as_others_and_say_so() {
    let files = Certificates::new();
    let settings = [
        "[server]\nsend_forwarded = true\n".to_owned(),
        files.table("a", &["a.test"], ""),
        echoing().await.replace("shipped_routes = false\n", ""),
    ];
    let settings = format!("shipped_routes = false\n{}", settings.concat());
    let gateway = TlsGateway::start(&settings).await;
    let url = |scheme: &str, address: SocketAddr| {
        format!("{scheme}://a.test:{}/{scheme}", address.port())
    };
    for http1_only in [true, false] {
        let mut client = files.client(&["a.test"], gateway.tls);
        if http1_only {
            client = client.http1_only();
        }
        let client = client.build().unwrap();
        for _ in 0..3 {
            let response = client.post(url("https", gateway.tls)).body("four");
            let response = response.send().await.unwrap();
            assert_eq!(response.status(), 200);
            let expected = if http1_only { "HTTP/1.1" } else { "HTTP/2.0" };
            assert_eq!(format!("{:?}", response.version()), expected);
            let hsts = &response.headers()["strict-transport-security"];
            assert_eq!(hsts, "max-age=31536000");
            let echoed: Value = response.json().await.unwrap();
            assert_eq!(header(&echoed, "x-forwarded-proto"), ["https"]);
            let forwarded = header(&echoed, "forwarded").concat();
            assert!(forwarded.contains("proto=https"), "{forwarded}");
            assert_eq!(echoed["body_bytes"], 4);
        }
    }
    let direct = gateway
        .gateway
        .count("gateway_direct_requests_total{")
        .await;
    assert_eq!(direct, if DIRECT { 3 } else { 0 });
    // RFC 6797, 7.2.
    let plain = files.client(&["a.test"], gateway.plain).build().unwrap();
    let response = plain.get(url("http", gateway.plain)).send().await.unwrap();
    assert!(!response.headers().contains_key("strict-transport-security"));
    let echoed: Value = response.json().await.unwrap();
    assert_eq!(header(&echoed, "x-forwarded-proto"), ["http"]);
    let line = gateway.gateway.access_line("/https").await;
    assert_eq!(line["tls_version"], "1.3");
    assert!(line["tls_cipher"].as_str().unwrap().starts_with("TLS_"));
    let line = gateway.gateway.access_line("/http").await;
    assert!(line.get("tls_version").is_none());
    let completed =
        "gateway_tls_handshakes_total{service=\"gateway\",version=\"1.3\",kind=\"full\"}";
    assert!(gateway.gateway.count(completed).await >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_is_agreed_on_in_the_handshake() {
    let files = Certificates::new();
    let settings = [echoing().await, files.table("a", &["a.test"], "")].concat();
    let gateway = TlsGateway::start(&settings).await;
    let without = TlsGateway::start_with(&settings, "", "http2 = false").await;
    for (gateway, offered, expected) in [
        (&gateway, &["h2", "http/1.1"][..], Some("h2")),
        (&gateway, &["http/1.1"], Some("http/1.1")),
        (&gateway, &[], None),
        (&without, &["h2", "http/1.1"], Some("http/1.1")),
    ] {
        let mut config = files.client_config(None);
        config.alpn_protocols = offered.iter().map(|it| it.as_bytes().to_vec()).collect();
        let stream = gateway.connect(config, "a.test").await.unwrap();
        let agreed = stream.get_ref().1.alpn_protocol();
        assert_eq!(agreed, expected.map(str::as_bytes), "{offered:?}");
    }
    let mut config = files.client_config(None);
    config.alpn_protocols = vec![b"spdy/3".to_vec()];
    assert!(gateway.connect(config, "a.test").await.is_err());
    have_failed(&gateway, &["no_common_parameters"], 1).await;
    // HTTP/2 that was not agreed on.
    let stream = gateway.connect(files.client_config(None), "a.test").await;
    let mut stream = stream.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    stream.write_all(preface).await.unwrap();
    read_next(&mut stream, &mut Vec::new())
        .await
        .problem(400, "malformed_request");
}

/// A `ClientHello` of this version without extensions, as old clients send it.
fn old_hello(minor: u8) -> Vec<u8> {
    let suites = [0xc0, 0x13, 0xc0, 0x14, 0x00, 0x2f, 0x00, 0x35];
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    body.push(0);
    body.extend([0, 8]);
    body.extend(suites);
    body.extend([1, 0]);
    let length = u8::try_from(body.len()).unwrap();
    let mut hello = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    hello.extend(body);
    hello
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions_are_refused() {
    let files = Certificates::new();
    let settings = [echoing().await, files.table("a", &["a.test"], "")].concat();
    let gateway = TlsGateway::start(&settings).await;
    // SSL 3.0, TLS 1.0 and TLS 1.1.
    for minor in [0, 1, 2] {
        let mut stream = TcpStream::connect(gateway.tls).await.unwrap();
        stream.write_all(&old_hello(minor)).await.unwrap();
        let mut answer = Vec::new();
        let read = timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
        read.unwrap().unwrap();
        // A fatal alert, and nothing else.
        assert_eq!(answer.len(), 7, "{answer:?}");
        assert_eq!((answer[0], answer[5]), (21, 2), "{answer:?}");
    }
    let reasons = ["version", "unknown_name", "no_common_parameters"];
    have_failed(&gateway, &reasons, 3).await;
    let provider = aws_lc_rs::default_provider;
    let old = || with_provider(&files, provider(), &[&rustls::version::TLS12]);
    let stream = gateway.connect(old(), "a.test").await.unwrap();
    let version = stream.get_ref().1.protocol_version();
    assert_eq!(version, Some(rustls::ProtocolVersion::TLSv1_2));
    let settings = gateway.settings(&format!("{settings}\n[tls]\nmin_version = \"1.3\"\n"));
    gateway.gateway.reload(&settings).await;
    assert!(gateway.connect(old(), "a.test").await.is_err());
    let config = files.client_config(None);
    assert!(gateway.connect(config, "a.test").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_resumed() {
    let files = Certificates::new();
    let settings = [echoing().await, files.table("a", &["a.test"], "")].concat();
    let gateway = TlsGateway::start(&settings).await;
    let provider = aws_lc_rs::default_provider;
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let config = with_provider(&files, provider(), &[version]);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut stream = gateway.connect(config.clone(), "a.test").await.unwrap();
            let kind = stream.get_ref().1.handshake_kind();
            assert_eq!(kind, Some(expected), "{version:?}");
            // Tickets come with the first response.
            stream.write_all(REQUEST).await.unwrap();
            let response = read_next(&mut stream, &mut Vec::new()).await;
            assert_eq!(response.status, 200);
        }
        // A reload keeps the keys of tickets.
        gateway
            .gateway
            .reload(&gateway.settings(&format!("{settings}\n")))
            .await;
        let stream = gateway.connect(config, "a.test").await.unwrap();
        let kind = stream.get_ref().1.handshake_kind();
        assert_eq!(kind, Some(HandshakeKind::Resumed), "{version:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_are_bounded_in_time_and_number() {
    let files = Certificates::new();
    let settings = [
        echoing().await,
        files.table("a", &["a.test"], ""),
        "[tls]\nhandshake_timeout_seconds = 3\nmax_handshakes = 1\n".to_owned(),
    ];
    let gateway = TlsGateway::start(&settings.concat()).await;
    let mut slow = TcpStream::connect(gateway.tls).await.unwrap();
    slow.write_all(&[22, 3]).await.unwrap();
    let active = "gateway_tls_handshakes_active{service=\"gateway\"}";
    eventually("the handshake has begun", || async {
        (gateway.gateway.count(active).await == 1).then_some(())
    })
    .await;
    // There is no room for another one, which is closed at once.
    let config = files.client_config(None);
    assert!(gateway.connect(config.clone(), "a.test").await.is_err());
    have_failed(&gateway, &["too_many"], 1).await;
    let read = timeout(DEADLINE, slow.read(&mut [0; 16])).await;
    assert_eq!(read.unwrap().unwrap_or(0), 0);
    have_failed(&gateway, &["timeout"], 1).await;
    assert!(gateway.connect(config, "a.test").await.is_ok());
    eventually("no handshake is under way", || async {
        (gateway.gateway.count(active).await == 0).then_some(())
    })
    .await;
    // A connection that nothing comes on is one that checks the port.
    drop(TcpStream::connect(gateway.tls).await.unwrap());
    let closed = gateway.gateway.count(&failures("closed")).await;
    assert_eq!(closed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_request_at_the_port_for_https_is_answered() {
    let files = Certificates::new();
    let settings = [echoing().await, files.table("a", &["a.test"], "")].concat();
    let gateway = TlsGateway::start(&settings).await;
    let response = exchange(gateway.tls, REQUEST).await;
    response.problem(400, "malformed_request");
    assert!(response.body.contains("HTTPS"), "{response:?}");
    have_failed(&gateway, &["plain_http"], 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_header_comes_before_the_handshake() {
    let files = Certificates::new();
    let settings = [
        echoing().await,
        files.table("a", &["a.test"], ""),
        "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n".to_owned(),
    ];
    let gateway = TlsGateway::start_with(&settings.concat(), "", "proxy_protocol = true").await;
    let mut stream = TcpStream::connect(gateway.tls).await.unwrap();
    let line = b"PROXY TCP4 192.0.2.7 192.0.2.8 1 443\r\n";
    stream.write_all(line).await.unwrap();
    let stream = shake(stream, files.client_config(None), "a.test").await;
    let mut stream = stream.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    let response = read_next(&mut stream, &mut Vec::new()).await;
    let echoed: Value = serde_json::from_str(&response.body).unwrap();
    assert_eq!(header(&echoed, "x-forwarded-for"), ["192.0.2.7"]);
    assert_eq!(header(&echoed, "x-forwarded-proto"), ["https"]);
    // Without the header there is no handshake.
    let config = files.client_config(None);
    assert!(gateway.connect(config, "a.test").await.is_err());
}

/// Sends a first message of this size to each client, and then what it receives.
async fn websocket_service(size: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                let (mut sink, mut stream) = socket.split();
                sink.send(Message::binary(vec![7; size])).await.unwrap();
                while let Some(Ok(message)) = stream.next().await {
                    if message.is_text() {
                        sink.send(message).await.unwrap();
                    }
                }
            });
        }
    });
    address
}

/// Reads slowly until the silence is complete: the last bytes must not wait for what comes after them.
async fn read_slowly(stream: &mut TlsStream<TcpStream>, expected: usize) {
    let mut received = 0;
    let mut bytes = vec![0; 16 * 1024];
    while received < expected {
        let read = timeout(DEADLINE, stream.read(&mut bytes)).await;
        received += read.expect("nothing is held back").unwrap();
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_pass_and_hold_nothing_back() {
    const SIZE: usize = 12 * 1024 * 1024;
    let files = Certificates::new();
    let settings = [
        upstream(&[websocket_service(SIZE).await]),
        route("ws", "/ws", "upgrade = true"),
        files.table("a", &["a.test"], ""),
    ];
    let gateway = TlsGateway::start(&settings.concat()).await;
    let stream = gateway.connect(files.client_config(None), "a.test").await;
    let client = tokio_tungstenite::client_async("ws://a.test/ws", stream.unwrap()).await;
    let (mut socket, response) = client.unwrap();
    assert_eq!(response.status(), 101);
    let first = timeout(DEADLINE, socket.next()).await.unwrap();
    assert_eq!(first.unwrap().unwrap().len(), SIZE);
    for round in 0..3 {
        let text = format!("{round} {}", "x".repeat(1000));
        socket.send(Message::text(text.clone())).await.unwrap();
        let echoed = timeout(DEADLINE, socket.next()).await.unwrap();
        assert_eq!(echoed.unwrap().unwrap(), Message::text(text));
    }
    socket.close(None).await.unwrap();
    let line = gateway.gateway.access_line("/ws").await;
    assert_eq!(
        (&line["status"], &line["tls_version"]),
        (&101.into(), &"1.3".into())
    );
}

/// A response that pauses after many bytes, as events do.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_gets_all_that_was_sent_before_a_pause() {
    const SIZE: usize = 12 * 1024 * 1024;
    let events = || async {
        let first = futures_util::stream::iter([Ok::<_, std::io::Error>(vec![b'x'; SIZE])]);
        let body = Body::from_stream(first.chain(futures_util::stream::pending()));
        let response = Response::builder().header("content-type", "text/event-stream");
        response.body(body).unwrap()
    };
    let files = Certificates::new();
    let settings = [
        upstream(&[serve(Router::new().route("/events", get(events))).await]),
        route("events", "/events", "stream = true"),
        files.table("a", &["a.test"], ""),
    ];
    let gateway = TlsGateway::start(&settings.concat()).await;
    let stream = gateway.connect(files.client_config(None), "a.test").await;
    let mut stream = stream.unwrap();
    let request = b"GET /events HTTP/1.1\r\nHost: a.test\r\n\r\n";
    stream.write_all(request).await.unwrap();
    read_slowly(&mut stream, SIZE).await;
}

const LISTEN: &str = "server.listen = [{ address = \"127.0.0.1:1\", tls = true }]\n";

/// Each text is refused with an error that names what is expected.
fn assert_refused(files: &Certificates, cases: &[(String, &str)]) {
    for (text, expected) in cases {
        let (is_good, errors) = check(files, text);
        assert!(
            !is_good && errors.contains(expected),
            "{expected}: {errors}"
        );
    }
}

fn check(files: &Certificates, text: &str) -> (bool, String) {
    let file = files.path("gateway.toml");
    std::fs::write(&file, text).unwrap();
    let output = command()
        .args(["check", "--config", file.to_str().unwrap()])
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    (output.status.success(), errors)
}

#[test]
fn incomplete_settings_are_refused() {
    let files = Certificates::new();
    let good = files.table("a", &["a.test"], "");
    let other = files.issue(&["a.test"]);
    std::fs::write(files.path("other.key"), &other.key).unwrap();
    let with = |more: &str| format!("{LISTEN}{good}{more}\n");
    let files_of = |from: &str, to: &str| format!("{LISTEN}{}", good.replace(from, to));
    let redirecting = with("").replace("tls = true", "tls = true, redirect_to_https = true");
    assert_refused(
        &files,
        &[
            (LISTEN.to_owned(), "server.listen[0].tls"),
            (redirecting, "server.listen[0].redirect_to_https"),
            (
                with("[tls]\ndefault_certificate = \"b\""),
                "tls.default_certificate",
            ),
            (with("[tls]\nmin_version = \"1.1\""), "tls.min_version"),
            (with("[tls]\nmax_handshakes = 0"), "tls.max_handshakes"),
            (
                files_of("a.pem", "missing.pem"),
                "certificates.a.certificate_path",
            ),
            (files_of("a.key", "other.key"), "certificates.a.key_path"),
            (files_of("a.key", "a.pem"), "certificates.a.key_path"),
            (with("hosts = [\"b.test\"]"), "is not for `b.test`"),
            (with("hosts = [\"127.0.0.1\"]"), "certificates.a.hosts[0]"),
        ],
    );
    let (_, errors) = check(&files, &files_of("a.key", "other.key"));
    assert!(!errors.contains(other.key.lines().nth(1).unwrap()));
}

#[test]
fn incomplete_client_authorities_are_refused() {
    let files = Certificates::new();
    let good = files.table("a", &["a.test"], "");
    let pem = files.authority.certificate();
    let with = |hosts: &str, more: &str| {
        format!(
            "{LISTEN}{good}[client_authorities.c]\nhosts = [{hosts}]\n\
             certificates = \"\"\"\n{pem}\"\"\"\n{more}\n"
        )
    };
    let (is_good, errors) = check(&files, &with("\"a.test\"", ""));
    assert!(is_good, "{errors}");
    assert_refused(
        &files,
        &[
            (with("", ""), "client_authorities.c.hosts"),
            (
                with("\"a.test\", \"A.test\"", ""),
                "client_authorities.c.hosts",
            ),
            (
                with("\"a.test\"", "subject_header = \"X-Forwarded-For\""),
                "client_authorities.c.subject_header",
            ),
            (
                with("\"a.test\"", "").replace("BEGIN", "BEGUN"),
                "client_authorities.c.certificates",
            ),
        ],
    );
}

/// compose/tls.yaml, with other addresses and another directory.
#[tokio::test(flavor = "multi_thread")]
async fn the_overlay_of_the_composed_stack_serves_https() {
    let compose = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../compose");
    let overlay = std::fs::read_to_string(compose.join("tls.yaml")).unwrap();
    let settings = std::fs::read_to_string(compose.join("settings/gateway.toml")).unwrap();
    let files = Certificates::new();
    let identity = files.issue(&["a.test"]);
    std::fs::write(files.path("tls.crt"), &identity.certificate).unwrap();
    std::fs::write(files.path("tls.key"), &identity.key).unwrap();
    let directory = files.path("");
    let settings = settings.replace("/run/tls/", directory.to_str().unwrap());
    let (plain, tls) = (free_address(), free_address());
    let variables: Vec<(String, String)> = overlay
        .lines()
        .filter_map(|line| line.strip_prefix("      QUARTET_")?.split_once(": "))
        .map(|(name, value)| {
            let value = value
                .trim_matches('"')
                .replace("${QUARTET_HTTPS_PORT:-443}", "8443");
            let value = value.replace("0.0.0.0:8080", &plain.to_string());
            let value = value.replace("0.0.0.0:8443", &tls.to_string());
            (format!("QUARTET_{name}"), value)
        })
        .collect();
    assert_eq!(variables.len(), 3, "{variables:?}");
    let variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let _gateway = Gateway::with_variables(&settings, &variables).await;
    let client = files.client(&["a.test"], tls).build().unwrap();
    let url = |scheme: &str, address: SocketAddr, path: &str| {
        format!("{scheme}://a.test:{}{path}", address.port())
    };
    let response = client
        .get(url("https", tls, "/health"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let client = files.client(&["a.test"], plain).build().unwrap();
    let response = client
        .get(url("http", plain, "/health"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let response = client
        .get(url("http", plain, "/v1/core/x"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        response.headers()["location"],
        "https://a.test:8443/v1/core/x"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_check_needs_no_certificate() {
    let files = Certificates::new();
    let settings = [
        "shipped_routes = false\n".to_owned(),
        files.table("a", &["a.test"], ""),
        "[routes.health]\npaths = [\"/health\"]\nserve = \"health\"\nauth = \"public\"\n"
            .to_owned(),
    ];
    let redirecting = "redirect_to_https = true";
    let gateway = TlsGateway::start_with(&settings.concat(), redirecting, "").await;
    let status = command()
        .args([
            "healthcheck",
            "--config",
            gateway.gateway.file().to_str().unwrap(),
        ])
        .env(
            "QUARTET_SERVER_ADMIN_LISTEN",
            gateway.gateway.admin.to_string(),
        )
        .status();
    assert!(status.unwrap().success());
}
