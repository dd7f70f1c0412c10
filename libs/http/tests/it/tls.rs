//! A service with TLS that demands client certificates, and replaces its own.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, routing::get};
use quartet_ca::{Authority, Identity, Request, Validity};
use quartet_common::config::Server;
use quartet_http::{
    front::App,
    health::Readiness,
    serve::serve_over,
    tls::{ServiceTls, ServiceTransport},
};
use quartet_testing::server::server_settings;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

fn authority() -> Authority {
    Authority::create("test", Validity::of(Duration::from_hours(24))).unwrap()
}

fn issue(authority: &Authority) -> Identity {
    authority.issue(&Request::of(&["localhost"])).unwrap()
}

fn settings(own: &Identity, clients: Option<&Authority>) -> Server {
    Server {
        tls_certificate: Some(own.certificate.clone()),
        tls_key: Some(own.key.clone().into()),
        tls_client_ca: clients.map(|clients| clients.certificate().to_owned()),
        ..server_settings()
    }
}

async fn start(settings: &Server) -> (SocketAddr, ServiceTls, CancellationToken) {
    let tls = ServiceTls::open(settings).unwrap().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let (transport, stopped) = (ServiceTransport(Some(tls.clone())), shutdown.clone());
    let settings = settings.clone();
    tokio::spawn(async move {
        let router = Router::new().fallback(get(|| async { "served" }));
        let readiness = Readiness::new();
        let app = App::from(router);
        serve_over(transport, listener, app, &settings, &readiness, stopped).await
    });
    (address, tls, shutdown)
}

fn client(
    trusted: &Authority,
    identity: Option<&Identity>,
    address: SocketAddr,
) -> reqwest::Client {
    let authority = reqwest::Certificate::from_pem(trusted.certificate().as_bytes()).unwrap();
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(20))
        .resolve("localhost", address)
        .tls_certs_only([authority]);
    if let Some(identity) = identity {
        let pem = format!("{}{}", identity.certificate, identity.key);
        builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
    }
    builder.build().unwrap()
}

/// The status of a response; `None`: there is no connection.
async fn ask(client: &reqwest::Client, address: SocketAddr, path: &str) -> Option<u16> {
    let url = format!("https://localhost:{}{path}", address.port());
    let response = client.get(url).send().await.ok()?;
    Some(response.status().as_u16())
}

#[tokio::test]
async fn requests_need_a_certificate_except_those_that_are_for_all() {
    let (own, clients, others) = (authority(), authority(), authority());
    let settings = settings(&issue(&own), Some(&clients));
    let (address, _, shutdown) = start(&settings).await;
    let none = client(&own, None, address);
    for (path, expected) in [
        ("/health", 200),
        ("/ready", 200),
        ("/metrics", 200),
        ("/internal/events", 200),
        ("/.well-known/jwks.json", 200),
        ("/v1/core/users", 403),
        ("/", 403),
        ("/healthy", 403),
        ("/x/health", 403),
    ] {
        assert_eq!(ask(&none, address, path).await, Some(expected), "{path}");
    }
    let identity = issue(&clients);
    let good = client(&own, Some(&identity), address);
    assert_eq!(ask(&good, address, "/v1/core/users").await, Some(200));
    let identity = issue(&others);
    let bad = client(&own, Some(&identity), address);
    assert_eq!(ask(&bad, address, "/health").await, None);
    // One of another authority is not taken for the service.
    let deceived = client(&others, None, address);
    assert_eq!(ask(&deceived, address, "/health").await, None);
    // Nor is plain HTTP spoken.
    let plain = reqwest::get(format!("http://{address}/health")).await;
    assert!(plain.is_err());
    shutdown.cancel();
}

#[tokio::test]
async fn certificates_are_replaced_while_connections_are_open() {
    let (own, next, clients) = (authority(), authority(), authority());
    let (address, tls, shutdown) = start(&settings(&issue(&own), Some(&clients))).await;
    let identity = issue(&clients);
    let old = client(&own, Some(&identity), address);
    assert_eq!(ask(&old, address, "/x").await, Some(200));
    // What cannot be used changes nothing.
    let mixed = Identity {
        key: issue(&own).key,
        ..issue(&own)
    };
    let error = tls.replace(&settings(&mixed, Some(&clients))).unwrap_err();
    assert!(
        error.to_string().contains("server.tls_certificate"),
        "{error}"
    );
    assert!(tls.replace(&settings(&issue(&own), None)).is_err());
    assert_eq!(ask(&old, address, "/x").await, Some(200));
    tls.replace(&settings(&issue(&next), Some(&clients)))
        .unwrap();
    let new = client(&next, Some(&identity), address);
    assert_eq!(ask(&new, address, "/x").await, Some(200));
    // The authorities of clients are the same, so the connection that is open is as good as before.
    assert_eq!(ask(&old, address, "/x").await, Some(200));
    // It was verified by one that is no longer in force, so it is refused and closed.
    tls.replace(&settings(&issue(&own), Some(&own))).unwrap();
    assert_eq!(ask(&old, address, "/x").await, Some(403));
    assert_eq!(ask(&old, address, "/x").await, None);
    shutdown.cancel();
}

#[test]
fn half_of_the_settings_is_refused() {
    let (own, clients) = (authority(), authority());
    let whole = settings(&issue(&own), Some(&clients));
    let without = |change: fn(&mut Server)| {
        let mut settings = whole.clone();
        change(&mut settings);
        ServiceTls::open(&settings).map(|tls| tls.is_some())
    };
    assert!(without(|_| ()).unwrap());
    for (change, key) in [
        (
            (|it| it.tls_key = None) as fn(&mut Server),
            "server.tls_key",
        ),
        (|it| it.tls_certificate = None, "server.tls_certificate"),
        (
            |it| (it.tls_certificate, it.tls_key) = (None, None),
            "server.tls_certificate",
        ),
        (
            |it| it.tls_client_ca = Some("x".to_owned()),
            "server.tls_client_ca",
        ),
        (
            |it| it.tls_key = Some("x".to_owned().into()),
            "server.tls_key",
        ),
    ] {
        let error = without(change).unwrap_err().to_string();
        assert!(error.contains(key), "{key}: {error}");
    }
    assert!(
        !without(|it| {
            (it.tls_certificate, it.tls_key, it.tls_client_ca) = (None, None, None);
        })
        .unwrap()
    );
}
