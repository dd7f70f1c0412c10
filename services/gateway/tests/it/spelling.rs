//! Every spelling of a path or host leads to one route, over HTTP/1 and HTTP/2, or is refused.

use bytes::Bytes;
use http::Request;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::support::{Gateway, echo, eventually, exchange, route, serve, upstream};

/// Everything is public but `/secret/*`, and all that `secret.example.org` has.
async fn gateway() -> Gateway {
    let required = |text: String| text.replace("\"public\"", "\"required\"");
    let settings = [
        upstream(&[serve(echo()).await]),
        "[jwt]\njwks_url = \"http://127.0.0.1:9/\"\n".to_owned(),
        "[server]\nhttp2 = true\n".to_owned(),
        route("all", "/*", ""),
        route("files", "/files/*", "raw_path = true"),
        required(route("secret", "/secret/*", "")),
        required(route("host", "/*", "hosts = [\"secret.example.org\"]")),
    ];
    Gateway::start(&settings.concat()).await
}

/// The status, and the path that the upstream received.
type Outcome = (u16, Option<String>);

fn outcome(status: u16, body: &str) -> Outcome {
    // pingora's own refusals have no body.
    let echoed: Value = serde_json::from_str(body).unwrap_or_default();
    let path = echoed["path"].as_str().filter(|_| status == 200);
    (status, path.map(str::to_owned))
}

async fn http1(gateway: &Gateway, host: &str, path: &str) -> Outcome {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let response = exchange(gateway.public, request.as_bytes()).await;
    outcome(response.status, &response.body)
}

/// `None`: the client library refuses to send it.
async fn http2(gateway: &Gateway, host: &str, path: &str) -> Option<Outcome> {
    let uri = http::Uri::builder().scheme("http").authority(host);
    let uri = uri.path_and_query(path).build().ok()?;
    let stream = TcpStream::connect(gateway.public).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut send = send.ready().await.unwrap();
    let request = Request::get(uri).body(()).unwrap();
    let (response, _) = send.send_request(request, true).unwrap();
    let (head, mut body) = response.await.unwrap().into_parts();
    let mut text = Vec::<u8>::new();
    while let Some(part) = body.data().await {
        let part: Bytes = part.unwrap();
        text.extend_from_slice(&part);
    }
    Some(outcome(
        head.status.as_u16(),
        &String::from_utf8(text).unwrap(),
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_path_leads_around_a_route() {
    let gateway = gateway().await;
    let cases = [
        ("/x", 200, "/x"),
        ("/X", 200, "/X"),
        ("/x?q=//;%2f..", 200, "/x?q=//;%2f.."),
        ("/x//y/", 200, "/x/y/"),
        ("/%78%c3%a9%20", 200, "/x%C3%A9%20"),
        ("/x|[y]", 200, "/x%7C%5By%5D"),
        ("/.well-known/x", 200, "/.well-known/x"),
        ("/files/a%2fb;v=1", 200, "/files/a%2fb;v=1"),
        ("/secret", 401, ""),
        ("/secret/x", 401, ""),
        ("//secret/x", 401, ""),
        ("/%73ecret/x", 401, ""),
        ("/secret//x", 401, ""),
        ("/%2573ecret/x", 200, "/%2573ecret/x"),
        ("/secret%2fx", 400, ""),
        ("/secret;a=b/x", 400, ""),
        ("/x/..;/secret/x", 400, ""),
        ("/x/..%3b/secret/x", 400, ""),
        ("/x/..%2fsecret", 400, ""),
        ("/x%2f..%2fsecret/x", 400, ""),
        ("/x/../secret/x", 400, ""),
        ("/x/%2e%2e/secret/x", 400, ""),
        ("/x/./secret", 400, ""),
        ("/a\\..\\secret\\x", 400, ""),
        ("/a%5c..%5csecret", 400, ""),
        ("/files/..%2fsecret/x", 400, ""),
        ("/files%2f..;/secret/x", 400, ""),
        ("/x%00", 400, ""),
        ("/x%0d%0aa:b", 400, ""),
        ("/x%", 400, ""),
        ("/x%zz", 400, ""),
    ];
    for (path, status, forwarded) in cases {
        let forwarded = (status == 200).then(|| forwarded.to_owned());
        let expected = (status, forwarded);
        assert_eq!(http1(&gateway, "a", path).await, expected, "HTTP/1 {path}");
        if let Some(outcome) = http2(&gateway, "a", path).await {
            assert_eq!(outcome, expected, "HTTP/2 {path}");
        }
    }
    // These have no HTTP/2 form.
    for (target, status, forwarded) in [
        ("?x", 400, None),
        ("*", 400, None),
        ("x", 400, None),
        ("http://a/x?y", 200, Some("/x?y")),
        ("http://a?y", 200, Some("/?y")),
        ("http://a//secret/x", 401, None),
        ("http://b/x", 400, None),
    ] {
        let expected = (status, forwarded.map(str::to_owned));
        assert_eq!(http1(&gateway, "a", target).await, expected, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_host_leads_around_a_route() {
    let gateway = gateway().await;
    for (host, status) in [
        ("other.example.org", 200),
        ("secret.example.org", 401),
        ("secret.example.org.", 401),
        ("SECRET.example.org", 401),
        ("secret.example.org:8080", 401),
        ("Secret.Example.Org.:8080", 401),
        ("secret.example.org..", 400),
        ("user@secret.example.org", 400),
    ] {
        assert_eq!(http1(&gateway, host, "/x").await.0, status, "HTTP/1 {host}");
        // A client library may refuse the authority, and the gateway's resets the stream.
        if status != 400 {
            let (found, _) = http2(&gateway, host, "/x").await.unwrap();
            assert_eq!(found, status, "HTTP/2 {host}");
        }
    }
    // Refused with a line in the log.
    assert_eq!(http1(&gateway, "a", "http://b/refused").await.0, 400);
    eventually("the refusal is logged", || async {
        let mut lines = gateway.lines().into_iter();
        lines.find(|line| line["path"] == "/refused" && line["status"] == 400)
    })
    .await;
    // The upstream receives the spelling that was matched.
    for (host, expected) in [
        ("Other.Example.Org.:81", "other.example.org:81"),
        ("b", "b"),
    ] {
        let request = format!("GET /x HTTP/1.1\r\nhost: {host}\r\n\r\n");
        let response = exchange(gateway.public, request.as_bytes()).await;
        for name in ["host", "x-forwarded-host"] {
            let host = format!("[\"{name}\",\"{expected}\"]");
            assert!(response.body.contains(&host), "{}", response.body);
        }
    }
}

#[test]
fn patterns_that_cannot_match_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    for (line, expected) in [
        ("hosts = [\"a:8080\"]", "routes.x.hosts[0]"),
        ("hosts = [\"a.\"]", "routes.x.hosts[0]"),
        ("methods = [\"get\"]", "routes.x.methods[0]"),
    ] {
        let text = format!("[routes.x]\nserve = \"health\"\npaths = [\"/x\"]\n{line}\n");
        std::fs::write(&file, text).unwrap();
        let output = crate::support::command()
            .args(["check", "--config", file.to_str().unwrap()])
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && stderr.contains(expected),
            "{stderr}"
        );
    }
}

/// A request that is not a WebSocket handshake is an ordinary request, whatever it calls itself.
#[tokio::test(flavor = "multi_thread")]
async fn only_handshakes_are_exempt_from_limits() {
    let settings = [
        upstream(&[serve(echo()).await]),
        route("ws", "/ws", "upgrade = true\nbody_limit_bytes = 1000"),
        route("plain", "/plain", ""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let body = "x".repeat(5000);
    let chunked = format!("transfer-encoding: chunked\r\n\r\n1388\r\n{body}\r\n0\r\n\r\n");
    for upgrade in [
        "upgrade: websocket\r\n",
        "upgrade: foo, websocket\r\nconnection: upgrade\r\n",
        "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ] {
        let request = format!("POST /ws HTTP/1.1\r\nhost: a\r\n{upgrade}{chunked}");
        let response = exchange(gateway.public, request.as_bytes()).await;
        response.problem(413, "body_too_large");
    }
    // Ignored, and not forwarded; on HTTP/1.0 even a whole handshake.
    let handshake = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                     sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (line, headers) in [
        (
            "GET /plain HTTP/1.1",
            "upgrade: h2c\r\nconnection: upgrade\r\n",
        ),
        ("GET /plain HTTP/1.1", "upgrade: websocket\r\n"),
        ("GET /plain HTTP/1.0", handshake),
    ] {
        let request = format!("{line}\r\nhost: a\r\n{headers}\r\n");
        let response = exchange(gateway.public, request.as_bytes()).await;
        assert_eq!(response.status, 200, "{response:?}");
        assert!(!response.body.contains("[\"upgrade\""), "{response:?}");
    }
    let other = handshake.replace(": 13", ": 8");
    for (path, status, code) in [("/ws", 426, "websocket_version"), ("/plain", 200, "")] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n{other}\r\n");
        let response = exchange(gateway.public, request.as_bytes()).await;
        assert_eq!(response.status, status, "{response:?}");
        if status == 426 {
            response.problem(status, code);
            assert!(
                response.head.contains("sec-websocket-version: 13"),
                "{response:?}"
            );
        }
    }
}

/// Time-outs are not the client's choice.
#[tokio::test(flavor = "multi_thread")]
async fn asking_for_events_does_not_lift_time_outs() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            kept.push(stream);
        }
    });
    let settings = [
        upstream(&[address]),
        route(
            "all",
            "/*",
            "response_timeout_seconds = 1\nbody_timeout_seconds = 1",
        ),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let head = "HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n";
    let get = format!("GET /x {head}\r\n");
    let response = exchange(gateway.public, get.as_bytes()).await;
    response.problem(504, "upstream_timeout");
    let post = format!("POST /x {head}content-length: 500\r\n\r\nx");
    let response = exchange(gateway.public, post.as_bytes()).await;
    assert!([408, 504].contains(&response.status), "{response:?}");
}
