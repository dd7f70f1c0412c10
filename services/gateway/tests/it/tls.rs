//! Upstreams with TLS: verified, by the configured authority or that of the system.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

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
    let certificate = include_bytes!("support/tls/server.pem");
    let key = include_bytes!("support/tls/server.key");
    let mut config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
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
            bytes.clear();
            let response = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}",
                text.len()
            );
            stream.write_all(response.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
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
            "",
            "upstreams.u.http2",
        ),
        (
            "addresses = [\"a:1\"]\ntls_ca = \"x\"",
            "",
            "upstreams.u.tls_ca",
        ),
        (
            "addresses = [\"a:1\"]\ntls = true",
            "upgrade = true",
            "routes.x.upgrade",
        ),
    ] {
        let (good, errors) = check(upstream, route);
        assert!(!good && errors.contains(expected), "{upstream}: {errors}");
    }
}
