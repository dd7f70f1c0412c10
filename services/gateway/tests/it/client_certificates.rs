//! Hosts that ask for client certificates.

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::support::{
    Certificates, RawResponse, TlsGateway, echo, exchange, read_next, route, serve, upstream,
};

/// `open.test` asks for nothing, `closed.test` needs a certificate, `either.test` takes one.
async fn settings(files: &Certificates, clients: &Certificates) -> String {
    let authority = clients.authority.certificate();
    let table = |name: &str, host: &str, more: &str| {
        format!(
            "[client_authorities.{name}]\nhosts = [\"{host}\"]\ncertificates = \"\"\"\n{authority}\"\"\"\n\
             subject_header = \"X-Subject\"\nfingerprint_header = \"X-Fingerprint\"\n\
             certificate_header = \"Client-Cert\"\n{more}\n"
        )
    };
    [
        upstream(&[serve(echo()).await]),
        route("all", "/*", ""),
        files.table(
            "a",
            &["open.test", "closed.test", "*.closed.test", "either.test"],
            "",
        ),
        table("closed", "closed.test", ""),
        table("below", "*.closed.test", ""),
        table("either", "either.test", "required = false"),
    ]
    .concat()
}

fn header<'e>(echoed: &'e Value, name: &str) -> Vec<&'e str> {
    let pairs = echoed["headers"].as_array().unwrap().iter();
    let values = pairs.filter(|pair| pair[0] == name);
    values.map(|pair| pair[1].as_str().unwrap()).collect()
}

fn request(host: &str) -> String {
    format!(
        "GET /a HTTP/1.1\r\nHost: {host}\r\nX-Subject: CN=forged\r\nX-Fingerprint: 00\r\n\
         Client-Cert: :AA==:\r\n\r\n"
    )
}

/// The response to a request for `host` on a connection for `name`. `None`: there is no connection.
async fn ask(
    gateway: &TlsGateway,
    config: rustls::ClientConfig,
    (name, host): (&str, &str),
) -> Option<RawResponse> {
    let mut stream = gateway.connect(config, name).await.ok()?;
    // With TLS 1.3, the client is refused after its handshake.
    stream.write_all(request(host).as_bytes()).await.ok()?;
    let mut first = [0];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut first)
        .await
        .ok()?;
    Some(read_next(&mut stream, &mut first.to_vec()).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_and_its_connection_must_agree() {
    let (files, clients, others) = (
        Certificates::new(),
        Certificates::new(),
        Certificates::new(),
    );
    let gateway = TlsGateway::start(&settings(&files, &clients).await).await;
    let good = clients.issue(&["client.test"]);
    let bad = others.issue(&["client.test"]);
    let (none, good, bad) = (None, Some(&good), Some(&bad));
    for (identity, name, host, expected) in [
        (none, "open.test", "open.test", Some(200)),
        (good, "open.test", "open.test", Some(200)),
        (good, "closed.test", "closed.test", Some(200)),
        (good, "closed.test", "CLOSED.test.:443", Some(200)),
        (none, "closed.test", "closed.test", None),
        (bad, "closed.test", "closed.test", None),
        (good, "x.closed.test", "x.closed.test", Some(200)),
        (none, "either.test", "either.test", Some(200)),
        (good, "either.test", "either.test", Some(200)),
        (bad, "either.test", "either.test", None),
        // The connection is for another host.
        (none, "open.test", "closed.test", Some(421)),
        (good, "open.test", "closed.test", Some(421)),
        (good, "open.test", "x.y.closed.test", Some(421)),
        (none, "open.test", "either.test", Some(421)),
        (good, "closed.test", "either.test", Some(421)),
        (good, "either.test", "closed.test", Some(421)),
        (good, "closed.test", "x.closed.test", Some(421)),
        // What was proved to one host is not forwarded to another one.
        (good, "closed.test", "open.test", Some(200)),
    ] {
        let config = files.client_config(identity);
        let response = ask(&gateway, config, (name, host)).await;
        let status = response.as_ref().map(|response| response.status);
        assert_eq!(status, expected, "{name} {host}");
        let Some(response) = response else { continue };
        if response.status == 421 {
            response.problem(421, "misdirected_request");
            continue;
        }
        let echoed: Value = serde_json::from_str(&response.body).unwrap();
        let is_proved = identity.is_some() && host != "open.test";
        let subjects = header(&echoed, "x-subject");
        assert_eq!(
            subjects,
            if is_proved {
                vec!["CN=client.test"]
            } else {
                vec![]
            }
        );
        let fingerprints = header(&echoed, "x-fingerprint");
        assert_eq!(fingerprints.len(), usize::from(is_proved), "{name} {host}");
        assert!(fingerprints.iter().all(|text| text.len() == 64));
        let sent = header(&echoed, "client-cert");
        assert_eq!(sent.len(), usize::from(is_proved));
        assert!(
            sent.iter()
                .all(|text| text.len() > 100 && text.starts_with(':'))
        );
    }
    let failed =
        "gateway_tls_handshake_failures_total{service=\"gateway\",reason=\"client_certificate\"}";
    assert_eq!(gateway.gateway.count(failed).await, 3);
    // Without TLS, nothing was proved.
    let response = exchange(gateway.plain, request("closed.test").as_bytes()).await;
    response.problem(421, "misdirected_request");
    let response = exchange(gateway.plain, request("open.test").as_bytes()).await;
    assert_eq!(response.status, 200);
}

/// Browsers send requests for all hosts of a certificate on one connection with HTTP/2.
#[tokio::test(flavor = "multi_thread")]
async fn connections_with_http2_are_for_one_host_too() {
    let (files, clients) = (Certificates::new(), Certificates::new());
    let gateway = TlsGateway::start(&settings(&files, &clients).await).await;
    let identity = clients.issue(&["client.test"]);
    let mut config = files.client_config(Some(&identity));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = gateway.connect(config, "closed.test").await.unwrap();
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for (host, expected) in [
        ("closed.test", 200),
        ("either.test", 421),
        ("open.test", 200),
    ] {
        let request = http::Request::get(format!("https://{host}/a"))
            .body(())
            .unwrap();
        let (response, _) = send.send_request(request, true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), expected, "{host}");
        let mut body = response.into_body();
        let mut text = Vec::new();
        while let Some(part) = body.data().await {
            text.extend_from_slice(&part.unwrap());
        }
        let echoed: Value = serde_json::from_slice(&text).unwrap();
        if host == "closed.test" {
            assert_eq!(header(&echoed, "x-subject"), ["CN=client.test"]);
        }
    }
}

/// What a connection has proved is worth nothing once other authorities are in force.
#[tokio::test(flavor = "multi_thread")]
async fn open_connections_are_judged_by_the_authorities_in_force() {
    let (files, clients, others) = (
        Certificates::new(),
        Certificates::new(),
        Certificates::new(),
    );
    let before = settings(&files, &clients).await;
    let gateway = TlsGateway::start(&before).await;
    let identity = clients.issue(&["client.test"]);
    let config = files.client_config(Some(&identity));
    let mut stream = gateway
        .connect(config.clone(), "closed.test")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let mut status = async || {
        let request = request("closed.test");
        stream.write_all(request.as_bytes()).await.unwrap();
        read_next(&mut stream, &mut rest).await.status
    };
    assert_eq!(status().await, 200);
    let [old, new] = [&clients, &others].map(|it| it.authority.certificate().to_owned());
    let after = before.replace(&old, &new);
    gateway.gateway.reload(&gateway.settings(&after)).await;
    assert_eq!(status().await, 421);
    let refused = ask(&gateway, config.clone(), ("closed.test", "closed.test")).await;
    assert!(refused.is_none());
    gateway.gateway.reload(&gateway.settings(&before)).await;
    assert_eq!(status().await, 200);
    // Such sessions are never resumed: the certificate is verified each time.
    for _ in 0..2 {
        let stream = gateway
            .connect(config.clone(), "closed.test")
            .await
            .unwrap();
        let kind = stream.get_ref().1.handshake_kind();
        assert_eq!(kind, Some(rustls::HandshakeKind::Full));
    }
}
