//! Upstreams with TLS: verified, by the configured authority or that of the system.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message, handshake::derive_accept_key, protocol::Role},
};

use crate::support::{DIRECT, Gateway, client, eventually, problem, route};

const AUTHORITY: &str = include_str!("support/tls/authority.pem");
const OTHER_AUTHORITY: &str = include_str!("support/tls/other_authority.pem");

/// A service named `upstream.test`.
struct Service {
    address: SocketAddr,
    /// Connections whose handshake was completed.
    connections: Arc<AtomicUsize>,
}

/// Answers with the protocol that was negotiated, and the server name that was asked for.
async fn service(protocols: &[&str]) -> Service {
    service_for(protocols, None).await
}

/// With an authority, clients need a certificate by it.
async fn service_for(protocols: &[&str], client_authority: Option<&str>) -> Service {
    let certificate = include_bytes!("support/tls/server.pem");
    let key = include_bytes!("support/tls/server.key");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = match client_authority {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(pem) => {
            let mut authorities = RootCertStore::empty();
            let authority = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            authorities.add(authority).unwrap();
            WebPkiClientVerifier::builder_with_provider(authorities.into(), Arc::clone(&provider))
                .build()
                .unwrap()
        }
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate).unwrap()],
            PrivateKeyDer::from_pem_slice(key).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let accepted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, accepted) = (acceptor.clone(), Arc::clone(&accepted));
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    accepted.fetch_add(1, Ordering::Relaxed);
                    serve(stream).await;
                }
            });
        }
    });
    Service {
        address,
        connections,
    }
}

async fn serve(mut stream: TlsStream<TcpStream>) {
    let (_, session) = stream.get_ref();
    let protocol = session.alpn_protocol().unwrap_or(b"none");
    let text = format!(
        "{} {}",
        String::from_utf8_lossy(protocol),
        session.server_name().unwrap_or("none")
    );
    if protocol == b"h2" {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let response = http::Response::new(());
            let mut body = respond.send_response(response, false).unwrap();
            body.send_data(Bytes::from(text.clone()), true).unwrap();
        }
        return;
    }
    let mut bytes = Vec::new();
    while stream.read_buf(&mut bytes).await.unwrap_or(0) > 0 {
        if bytes.ends_with(b"\r\n\r\n") {
            let head = String::from_utf8(std::mem::take(&mut bytes)).unwrap();
            let mut fields = head.lines().filter_map(|line| line.split_once(": "));
            let key = fields.find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
            if let Some((_, key)) = key {
                return serve_websocket(stream, key, text).await;
            }
            let response = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}",
                text.len()
            );
            stream.write_all(response.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
        }
    }
}

/// Sends the text, then what it receives.
async fn serve_websocket(mut stream: TlsStream<TcpStream>, key: &str, text: String) {
    let accept = derive_accept_key(key.as_bytes());
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {accept}\r\n\r\n"
    );
    stream.write_all(response.as_bytes()).await.unwrap();
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    socket.send(Message::text(text)).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() {
            socket.send(message).await.unwrap();
        }
    }
}

fn settings(address: SocketAddr, more: &str) -> String {
    let upstream = format!("[upstreams.u]\naddresses = [\"{address}\"]\ntls = true\n{more}\n");
    [
        "shipped_routes = false\n",
        &upstream,
        &route("all", "/*", ""),
    ]
    .concat()
}

fn trusting(authority: &str) -> String {
    format!("tls_server_name = \"upstream.test\"\ntls_ca = \"\"\"\n{authority}\"\"\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn verified_upstreams_are_reached_and_their_connections_kept() {
    let service = service(&["http/1.1"]).await;
    let gateway = Gateway::start(&settings(service.address, &trusting(AUTHORITY))).await;
    for _ in 0..5 {
        let response = gateway.get("/a").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.text().await.unwrap(), "http/1.1 upstream.test");
    }
    // A connection is in the pool again shortly after its response has arrived.
    eventually("a connection that is reused", || async {
        let before = service.connections.load(Ordering::Relaxed);
        let posted = client().post(gateway.url("/a")).send().await.unwrap();
        assert_eq!(posted.status(), 200);
        (service.connections.load(Ordering::Relaxed) == before).then_some(())
    })
    .await;
    // The direct path leaves them to pingora.
    let direct = gateway.count("gateway_direct_requests_total{").await;
    assert!(!DIRECT || direct == 0, "{direct}");
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_negotiated_if_both_want_it() {
    for (offered, wanted, expected) in [
        (&["h2", "http/1.1"][..], true, "h2"),
        (&["h2", "http/1.1"], false, "http/1.1"),
        (&["http/1.1"], true, "http/1.1"),
    ] {
        let service = service(offered).await;
        let more = format!("{}\nhttp2 = {wanted}", trusting(AUTHORITY));
        let gateway = Gateway::start(&settings(service.address, &more)).await;
        // A connection is in the pool again shortly after its response has arrived.
        eventually("a connection that is reused", || async {
            let before = service.connections.load(Ordering::Relaxed);
            let response = gateway.get("/a").await;
            assert_eq!(response.status(), 200, "{expected}");
            let text = response.text().await.unwrap();
            assert_eq!(text, format!("{expected} upstream.test"));
            (before > 0 && service.connections.load(Ordering::Relaxed) == before).then_some(())
        })
        .await;
    }
}

/// `WebSockets` use HTTP/1.1, whatever else is offered.
#[tokio::test(flavor = "multi_thread")]
async fn websockets_pass_to_verified_upstreams() {
    let service = service(&["h2", "http/1.1"]).await;
    for http2 in [false, true] {
        let more = format!("{}\nhttp2 = {http2}", trusting(AUTHORITY));
        let upgrade = settings(service.address, &more) + "upgrade = true\n";
        let gateway = Gateway::start(&upgrade).await;
        for _ in 0..20 {
            let url = format!("ws://{}/ws", gateway.public);
            let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
            let first = socket.next().await.unwrap().unwrap();
            assert_eq!(first, Message::text("http/1.1 upstream.test"));
            let long = Message::text("x".repeat(100_000));
            socket.send(long.clone()).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), long);
        }
    }
    let upgrade = settings(service.address, &trusting(OTHER_AUTHORITY)) + "upgrade = true\n";
    let gateway = Gateway::start(&upgrade).await;
    let url = format!("ws://{}/ws", gateway.public);
    let refused = tokio_tungstenite::connect_async(url).await.unwrap_err();
    let tungstenite::Error::Http(response) = refused else {
        panic!("{refused}");
    };
    assert_eq!(response.status(), 503);
}

/// An upstream that cannot be verified receives nothing.
#[tokio::test(flavor = "multi_thread")]
async fn unverified_upstreams_are_unreachable() {
    let other_name = trusting(AUTHORITY).replace("upstream.test", "other.test");
    for more in [
        trusting(OTHER_AUTHORITY),
        other_name,
        // The system does not know the authority.
        "tls_server_name = \"upstream.test\"".to_owned(),
    ] {
        let service = service(&["http/1.1"]).await;
        let gateway = Gateway::start(&settings(service.address, &more)).await;
        problem(gateway.get("/a").await, 503, "upstream_unreachable").await;
        let line = gateway.access_line("/a").await;
        assert!(line["error"].to_string().contains("ertificate"), "{line}");
        assert_eq!(service.connections.load(Ordering::Relaxed), 0);
    }
    // Nor is a plain service taken for one with TLS.
    let plain = crate::support::serve(crate::support::echo()).await;
    let gateway = Gateway::start(&settings(plain, &trusting(AUTHORITY))).await;
    problem(gateway.get("/a").await, 503, "upstream_unreachable").await;
}

const CLIENT_AUTHORITY: &str = include_str!("support/tls/client_authority.pem");
const CLIENT: [&str; 2] = [
    include_str!("support/tls/client.pem"),
    include_str!("support/tls/client.key"),
];
const OTHER_CLIENT: [&str; 2] = [
    include_str!("support/tls/other_client.pem"),
    include_str!("support/tls/other_client.key"),
];

fn proving([certificate, key]: [&str; 2]) -> String {
    let trusted = trusting(AUTHORITY);
    format!(
        "{trusted}\ntls_client_certificate = \"\"\"\n{certificate}\"\"\"\ntls_client_key = \"\"\"\n{key}\"\"\""
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_proves_itself_with_a_certificate() {
    let service = service_for(&["http/1.1"], Some(CLIENT_AUTHORITY)).await;
    let gateway = Gateway::start(&settings(service.address, &proving(CLIENT))).await;
    assert_eq!(gateway.get("/a").await.status(), 200);
    // Health checks do so too.
    let checked = format!(
        "{}\nhealth_check = {{ path = \"/a\", interval_ms = 100, unhealthy_after = 1 }}",
        proving(CLIENT)
    );
    gateway.reload(&settings(service.address, &checked)).await;
    let checks = "gateway_upstream_health_checks_total{service=\"gateway\",upstream=\"u\",outcome=\"succeeded\"}";
    eventually("a check succeeds", || async {
        (gateway.count(checks).await > 0).then_some(())
    })
    .await;
    // One that the service does not trust is in force at once, and so is none.
    for more in [proving(OTHER_CLIENT), trusting(AUTHORITY)] {
        gateway.reload(&settings(service.address, &more)).await;
        let status = gateway.get("/a").await.status();
        assert!(matches!(status.as_u16(), 502 | 503), "{status}");
    }
    gateway
        .reload(&settings(service.address, &proving(CLIENT)))
        .await;
    assert_eq!(gateway.get("/a").await.status(), 200);
    // The key of another certificate is refused, and never shown.
    let [_, other_key] = OTHER_CLIENT;
    let mixed = settings(service.address, &proving([CLIENT[0], other_key]));
    let error = gateway.refused_reload(&mixed).await;
    assert!(error.contains("upstreams.u.tls_client_key"), "{error}");
    let secret = other_key.lines().nth(1).unwrap();
    assert!(!error.contains(secret), "{error}");
}

/// As certificates are renewed: both files are replaced, one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_in_files_are_reloaded_when_they_change() {
    let service = service_for(&["http/1.1"], Some(CLIENT_AUTHORITY)).await;
    let directory = tempfile::tempdir().unwrap();
    let files = ["client.pem", "client.key"].map(|name| directory.path().join(name));
    let write = |contents: [&str; 2]| {
        for (file, content) in files.iter().zip(contents) {
            std::fs::write(file, content).unwrap();
        }
    };
    write(OTHER_CLIENT);
    let more = format!(
        "{}\ntls_client_certificate = \"\"\ntls_client_key = \"\"",
        trusting(AUTHORITY)
    );
    let variables = [
        (
            "QUARTET_UPSTREAMS_U_TLS_CLIENT_CERTIFICATE_FILE",
            files[0].to_str().unwrap(),
        ),
        (
            "QUARTET_UPSTREAMS_U_TLS_CLIENT_KEY_FILE",
            files[1].to_str().unwrap(),
        ),
    ];
    let gateway = Gateway::with_variables(&settings(service.address, &more), &variables).await;
    assert_ne!(gateway.get("/a").await.status(), 200);
    write(CLIENT);
    eventually("the new certificate is in force", || async {
        (gateway.get("/a").await.status() == 200).then_some(())
    })
    .await;
}

/// A connection that was verified by one authority is not lent where another one is trusted.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_with_another_authority_is_in_force_at_once() {
    let service = service(&["http/1.1"]).await;
    let gateway = Gateway::start(&settings(service.address, &trusting(AUTHORITY))).await;
    assert_eq!(gateway.get("/a").await.status(), 200);
    gateway
        .reload(&settings(service.address, &trusting(OTHER_AUTHORITY)))
        .await;
    problem(gateway.get("/a").await, 503, "upstream_unreachable").await;
}

#[test]
fn incomplete_settings_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    let check = |upstream: &str, route: &str| {
        let text = format!(
            "shipped_routes = false\n[upstreams.u]\n{upstream}\n\
             [routes.x]\npaths = [\"/x\"]\nupstream = \"u\"\nauth = \"public\"\n{route}\n"
        );
        std::fs::write(&file, text).unwrap();
        let output = crate::support::command()
            .args(["check", "--config", file.to_str().unwrap()])
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let named = "addresses = [\"a.test:1\", \"a.test:2\"]";
    let (good, errors) = check(&format!("{named}\ntls = true\nhttp2 = true"), "");
    assert!(good, "{errors}");
    for (upstream, route, expected) in [
        (
            "addresses = [\"127.0.0.1:1\"]\ntls = true",
            "",
            "upstreams.u.tls_server_name",
        ),
        (
            "addresses = [\"a:1\", \"b:1\"]\ntls = true",
            "",
            "upstreams.u.tls_server_name",
        ),
        (
            "addresses = [\"a:1\"]\ntls = true\ntls_server_name = \"10.0.0.1\"",
            "",
            "upstreams.u.tls_server_name",
        ),
        (
            "addresses = [\"a:1\"]\ntls = true\ntls_ca = \"x\"",
            "",
            "upstreams.u.tls_ca",
        ),
        (
            "addresses = [\"a:1\"]\nhttp2 = true",
            "upgrade = true",
            "routes.x.upgrade",
        ),
        (
            "addresses = [\"a:1\"]\ntls = true\ntls_client_certificate = \"x\"",
            "",
            "upstreams.u.tls_client_certificate",
        ),
        (
            "addresses = [\"a:1\"]\ntls_client_key = \"x\"",
            "",
            "upstreams.u.tls_client_key",
        ),
        (
            "addresses = [\"a:1\"]\ntls_ca = \"x\"",
            "",
            "upstreams.u.tls_ca",
        ),
    ] {
        let (good, errors) = check(upstream, route);
        assert!(!good && errors.contains(expected), "{upstream}: {errors}");
    }
}
