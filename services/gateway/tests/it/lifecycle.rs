//! Invalid configurations, reloads and shutdowns that lose no request.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use quartet_common::clock::Clock;
use quartet_testing::{Issuer, child::survives_hangup};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Gateway, client, command, eventually, held, problem, route, upstream};

/// Sends a request to `/held`, and returns once the upstream has it.
async fn in_flight(gateway: &Gateway) -> tokio::task::JoinHandle<reqwest::Response> {
    let url = gateway.url("/held");
    let request = tokio::spawn(async move { client().get(url).send().await.unwrap() });
    eventually("the request is in flight", || async {
        let start = "http_server_active_requests{service=\"gateway\",http_request_method=\"GET\"}";
        (gateway.metric(start).await >= 1.0).then_some(())
    })
    .await;
    request
}

#[test]
fn sighup_ends_no_command() {
    assert!(survives_hangup(env!("CARGO_BIN_EXE_quartet-gateway")));
}

/// The exit code and the errors of a file, which is called `FILE` in them.
fn check(text: &str, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    std::fs::write(&file, text).unwrap();
    let output = command()
        .args(["check", "--config", file.to_str().unwrap()])
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let stderr = stderr.replace(file.to_str().unwrap(), "FILE");
    (output.status.code(), stderr)
}

#[test]
fn errors_have_line_and_column() {
    assert_eq!(check("", &[]).0, Some(0), "the defaults are valid");
    let cases = [
        ("[server", "FILE:1:8: "),
        (
            "[server]\nlisten = \"nowhere\"\n",
            "setting `server.listen` (FILE:2:1): ",
        ),
        (
            "[server]\n\n  lisen = 1\n",
            "FILE:3:3: unknown setting `server.lisen`; did you mean `server.listen`?",
        ),
        (
            "[routes.core]\nupstream = \"cor\"\n",
            "setting `routes.core.upstream` (FILE:2:1): there is no upstream `cor`",
        ),
        (
            "[routes.x]\npaths = [\"/a\", \"b\"]\nserve = \"health\"\n",
            "setting `routes.x.paths[1]` (FILE:2:16): must be a path",
        ),
        (
            "[limits.core]\nrequests = 0\n",
            "setting `limits.core.requests` (FILE:2:1): must be between 1",
        ),
        (
            "[upstreams.x]\naddresses = [\"core\"]\n",
            "setting `upstreams.x.addresses[0]` (FILE:2:14): must be",
        ),
        (
            "[routes.x]\npaths = [\"/a\"]\n",
            "setting `routes.x` (FILE:1:9): must have one of `upstream`, `split`, `lookup`",
        ),
    ];
    for (text, expected) in cases {
        let (code, stderr) = check(text, &[]);
        assert_eq!(code, Some(1), "{text}");
        assert!(stderr.contains(expected), "{text}\nstderr: {stderr}");
    }
    let (code, stderr) = check("", &[("QUARTET_SERVER_THREADS", "many")]);
    assert!(
        code == Some(1) && stderr.contains("QUARTET_SERVER_THREADS"),
        "{stderr}"
    );
    assert!(
        !stderr.contains("many"),
        "a value may be a secret: {stderr}"
    );
    let (code, stderr) = check("", &[("QUARTET_SERVER_THRAEDS", "1")]);
    assert!(
        code == Some(1) && stderr.contains("QUARTET_SERVER_THRAEDS"),
        "{stderr}"
    );
    // All violations at once.
    let (_, stderr) = check("[limits.core]\nrequests = 0\nwindow_seconds = 0\n", &[]);
    assert_eq!(stderr.lines().count(), 2, "{stderr}");
    // Of every kind: a key, a type, a rule.
    let text = "[server]\nhttp3 = true\nmax_connections = \"x\"\n\
                [routes.core]\nupstream = \"nope\"\n[limits.core]\nrequests = 0\n";
    let (code, stderr) = check(text, &[("QUARTET_SERVER_THREADS", "many")]);
    assert_eq!(code, Some(1));
    for expected in [
        "FILE:2:1: unknown setting `server.http3`",
        "setting `server.threads` (QUARTET_SERVER_THREADS): must be an integer",
        "setting `server.max_connections` (FILE:3:1): must be a non-negative integer",
        "setting `routes.core.upstream` (FILE:5:1): there is no upstream `nope`",
        "setting `limits.core.requests` (FILE:7:1): must be between 1 and 10000000",
    ] {
        assert!(stderr.contains(expected), "{expected}\n{stderr}");
    }
    assert_eq!(stderr.lines().count(), 5, "{stderr}");
    // A route that cannot be read is reported alone: others may refer to what it names.
    let text = "[routes.own]\npaths = 5\n[routes.core]\nupstream = 7\nlimit = \"nope\"\n";
    let (_, stderr) = check(text, &[]);
    assert_eq!(stderr.lines().count(), 2, "{stderr}");
}

/// A segment of the path is chosen by the client.
#[test]
fn a_redirect_whose_host_depends_on_the_path_is_refused() {
    let path = "must be a URL or a path that starts with /";
    let host = "must name its host without a segment of the path";
    for (redirect, expected) in [
        ("//{id}", path),
        ("{id}", path),
        (r"/\\{id}", "must not contain a backslash"),
        ("https://new.example{id}", host),
        ("https://{id}.new.example/", host),
        ("https:///{id}", host),
    ] {
        let text = format!("[routes.x]\npaths = [\"/a/{{id}}\"]\nredirect = \"{redirect}\"\n");
        let (code, stderr) = check(&text, &[]);
        assert_eq!(code, Some(1), "{text}");
        assert!(stderr.contains(expected), "{text}\nstderr: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_drops_no_request() {
    let (address, permits) = held().await;
    let first = [upstream(&[address]), route("all", "/held", "")].concat();
    let gateway = Gateway::start(&first).await;
    problem(gateway.get("/new").await, 404, "no_route").await;
    let request = in_flight(&gateway).await;
    // A changed content is enough.
    let second = [first.clone(), route("new", "/new", "")].concat();
    std::fs::write(gateway.file(), &second).unwrap();
    eventually("the new route responds", || async {
        (gateway.get("/new").await.status() == 200).then_some(())
    })
    .await;
    // An invalid file changes nothing, and is reported.
    std::fs::write(gateway.file(), format!("{second}[routes.bad]\npaths = 1\n")).unwrap();
    eventually("the error is logged", || async {
        gateway.lines().into_iter().find(|line| {
            line["level"] == "error" && line["error"].to_string().contains("routes.bad.paths")
        })
    })
    .await;
    assert_eq!(gateway.get("/new").await.status(), 200);
    assert!(
        gateway
            .metric("gateway_config_reloads_total{service=\"gateway\",outcome=\"refused\"}")
            .await
            >= 1.0
    );
    // SIGHUP reloads at once.
    std::fs::write(gateway.file(), &first).unwrap();
    gateway.signal("HUP");
    eventually("the route is gone", || async {
        (gateway.get("/new").await.status() == 404).then_some(())
    })
    .await;
    permits.add_permits(1);
    let response = request.await.unwrap();
    assert_eq!(response.text().await.unwrap(), "released");
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_waits_for_requests_in_flight_and_no_longer() {
    let (address, permits) = held().await;
    let settings = [
        upstream(&[address]),
        "[server]\ndrain_delay_seconds = 1\nshutdown_grace_seconds = 60\n".to_owned(),
        route("all", "/*", ""),
    ]
    .concat();
    let mut gateway = Gateway::start(&settings).await;
    assert_eq!(gateway.admin("/ready").await.status(), 200);
    let request = in_flight(&gateway).await;
    gateway.signal("TERM");
    eventually("/ready is 503", || async {
        (gateway.admin("/ready").await.status() == 503).then_some(())
    })
    .await;
    // Requests are still accepted for a moment; their responses close the connection.
    let response = gateway.get("/late").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["connection"], "close");
    eventually("connections are refused", || async {
        tokio::net::TcpStream::connect(gateway.public)
            .await
            .is_err()
            .then_some(())
    })
    .await;
    permits.add_permits(1);
    // It had begun before: without the announcement, its client would send the next one into the
    // end of the connection.
    let response = request.await.unwrap();
    assert_eq!(response.headers()["connection"], "close");
    assert_eq!(response.text().await.unwrap(), "released");
    let began = std::time::Instant::now();
    assert!(gateway.ended().await.success());
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "it must not wait for the whole grace time"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_delay_shutdown() {
    let (address, _) = held().await;
    let settings = [
        upstream(&[address]),
        "[server]\ndrain_delay_seconds = 0\nshutdown_grace_seconds = 60\n".to_owned(),
        route("all", "/*", ""),
    ]
    .concat();
    let mut gateway = Gateway::start(&settings).await;
    let mut stream = tokio::net::TcpStream::connect(gateway.public)
        .await
        .unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(crate::support::read_response(&mut stream).await.status, 200);
    gateway.signal("TERM");
    assert!(gateway.ended().await.success());
}

/// The client has connected and sends its first request, which is still under way.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_request_of_a_connection_is_awaited_at_shutdown() {
    let (address, _) = held().await;
    let settings = [
        upstream(&[address]),
        "[server]\ndrain_delay_seconds = 0\nshutdown_grace_seconds = 60\n".to_owned(),
        route("all", "/*", ""),
    ];
    let mut gateway = Gateway::start(&settings.concat()).await;
    eventually("the connections of the start are closed", || async {
        (gateway.count("gateway_connections{").await == 0).then_some(())
    })
    .await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let connected = tokio::net::TcpStream::connect(gateway.public).await;
        streams.push(connected.unwrap());
    }
    eventually("the connections are accepted", || async {
        (gateway.count("gateway_connections{").await == 3).then_some(())
    })
    .await;
    gateway.signal("TERM");
    eventually("connections are refused", || async {
        let connected = tokio::net::TcpStream::connect(gateway.public).await;
        connected.is_err().then_some(())
    })
    .await;
    // Nothing comes on the last one, which does not delay the end.
    for stream in &mut streams[..2] {
        let request = b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(stream, request)
            .await
            .unwrap();
        let response = crate::support::read_response(stream).await;
        assert_eq!(response.status, 200);
        assert!(response.head.contains("connection: close"), "{response:?}");
    }
    assert!(gateway.ended().await.success());
}

/// A response of the gateway itself, to a request that had begun to wait for the keys of an issuer.
#[tokio::test(flavor = "multi_thread")]
async fn own_responses_announce_a_shutdown_that_has_begun_since() {
    // Connects clients, and never responds.
    let issuer = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let jwks = issuer.local_addr().unwrap();
    let (address, _) = held().await;
    let settings = [
        upstream(&[address]),
        "[server]\ndrain_delay_seconds = 0\n".to_owned(),
        format!("[jwt]\njwks_url = \"http://{jwks}/jwks.json\"\n"),
        route("all", "/*", "").replace("\"public\"", "\"required\""),
    ];
    let mut gateway = Gateway::start(&settings.concat()).await;
    let token = Issuer::new(Clock::system()).token("usr_1");
    let request = format!("GET /a HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n");
    let mut stream = tokio::net::TcpStream::connect(gateway.public)
        .await
        .unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes())
        .await
        .unwrap();
    eventually("the request is in flight", || async {
        let active = "http_server_active_requests{service=\"gateway\",http_request_method=\"GET\"}";
        (gateway.metric(active).await >= 1.0).then_some(())
    })
    .await;
    gateway.signal("TERM");
    let response = crate::support::read_response(&mut stream).await;
    response.problem(503, "unavailable");
    assert!(response.head.contains("connection: close"), "{response:?}");
    assert!(gateway.ended().await.success());
}

/// A WebSocket is a request in flight: it continues while others may, and no longer.
#[tokio::test(flavor = "multi_thread")]
async fn websockets_continue_until_the_grace_time_is_over() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = [
        upstream(&[listener.local_addr().unwrap()]),
        "[server]\ndrain_delay_seconds = 0\nshutdown_grace_seconds = 2\n".to_owned(),
        route("ws", "/ws", "upgrade = true"),
    ];
    let mut gateway = Gateway::start(&settings.concat()).await;
    let client = tokio_tungstenite::connect_async(format!("ws://{}/ws", gateway.public));
    let (client, server) = tokio::join!(client, async {
        let (stream, _) = listener.accept().await.unwrap();
        tokio_tungstenite::accept_async(stream).await.unwrap()
    });
    let ((mut client, _), mut server) = (client.unwrap(), server);
    gateway.signal("TERM");
    eventually("connections are refused", || async {
        let connected = tokio::net::TcpStream::connect(gateway.public).await;
        connected.is_err().then_some(())
    })
    .await;
    for text in ["one", "two"] {
        let message = Message::text(text);
        client.send(message.clone()).await.unwrap();
        assert_eq!(server.next().await.unwrap().unwrap(), message);
        server.send(message.clone()).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), message);
    }
    assert!(gateway.ended().await.success());
    assert!(!matches!(client.next().await, Some(Ok(_))));
    assert!(!matches!(server.next().await, Some(Ok(_))));
}

#[test]
fn port_in_use_fails_at_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = command()
        .arg("serve")
        .env("QUARTET_SERVER_LISTEN", &address)
        .env("QUARTET_SERVER_ADMIN_LISTEN", "127.0.0.1:0")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains(&format!("cannot listen on {address} (server.listen)")),
        "{stderr}"
    );
}
