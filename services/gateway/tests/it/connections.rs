//! Caps on connections, listeners, probes, and what refusals may cost.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::{
    DEADLINE, DIRECT, Gateway, client, command, echo, eventually, exchange, free_address,
    read_response, route, serve, upstream,
};

async fn gateway(server: &str) -> Gateway {
    let settings = [
        upstream(&[serve(echo()).await]),
        format!("[server]\n{server}\n"),
        route("all", "/a/*", ""),
    ];
    Gateway::start(&settings.concat()).await
}

const REQUEST: &[u8] = b"GET /a/b HTTP/1.1\r\nhost: a\r\n\r\n";

async fn open(gateway: &Gateway) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.public).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    assert_eq!(read_response(&mut stream).await.status, 200);
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_a_cap_get_503() {
    for (server, cap) in [
        ("max_connections = 2", "total"),
        ("max_connections_per_client = 2", "client"),
    ] {
        let gateway = gateway(server).await;
        eventually("the connections of the start are closed", || async {
            (gateway.count("gateway_connections{").await == 0).then_some(())
        })
        .await;
        let kept = [open(&gateway).await, open(&gateway).await];
        let refused = exchange(gateway.public, REQUEST).await;
        refused.problem(503, "too_many_connections");
        assert!(refused.head.contains("retry-after: 1"), "{refused:?}");
        let refused =
            format!("gateway_connections_refused_total{{service=\"gateway\",cap=\"{cap}\"}}");
        assert_eq!(gateway.count(&refused).await, 1);
        eventually("the refusal is logged", || async {
            let mut lines = gateway.lines().into_iter();
            lines.find(|line| line["code"] == "too_many_connections")
        })
        .await;
        drop(kept);
        eventually("there is room again", || async {
            let mut stream = TcpStream::connect(gateway.public).await.ok()?;
            stream.write_all(REQUEST).await.ok()?;
            let mut start = [0; 12];
            stream.read_exact(&mut start).await.ok()?;
            start.ends_with(b"200").then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_are_exempt_from_the_cap_per_client() {
    let settings = "max_connections_per_client = 1\ntrusted_proxies = [\"127.0.0.0/8\"]";
    let gateway = gateway(settings).await;
    let _kept = [open(&gateway).await, open(&gateway).await];
}

#[tokio::test(flavor = "multi_thread")]
async fn every_listener_accepts() {
    let (first, second) = (free_address(), free_address());
    let settings = [upstream(&[serve(echo()).await]), route("all", "/a/*", "")];
    let listen = format!("{first},{second}");
    let gateway =
        Gateway::with_variables(&settings.concat(), &[("QUARTET_SERVER_LISTEN", &listen)]).await;
    for address in [first, second] {
        assert_eq!(exchange(address, REQUEST).await.status, 200);
    }
    drop(gateway);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refusals_does_not_fill_the_log() {
    let gateway = gateway("refused_log_lines_per_second = 5").await;
    let mut stream = TcpStream::connect(gateway.public).await.unwrap();
    for _ in 0..200 {
        stream
            .write_all(b"GET /none HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        read_response(&mut stream).await.problem(404, "no_route");
    }
    let bad = b"GET /bad HTTP/1.1\r\n\r\n";
    exchange(gateway.public, bad)
        .await
        .problem(400, "malformed_request");
    // Every one is counted.
    let counted = "http_server_requests_total{service=\"gateway\",http_request_method=\"GET\",http_route=\"unmatched\",http_response_status_code=\"404\"}";
    assert_eq!(gateway.count(counted).await, 200);
    // Other requests are logged as before.
    exchange(gateway.public, REQUEST).await;
    gateway.access_line("/a/b").await;
    // The line of a rejected head is due once its connection is closed.
    let skipped = eventually("each is logged or counted", || async {
        let skipped = gateway.count("gateway_log_lines_skipped_total{").await;
        let lines = gateway.lines();
        let written = lines
            .iter()
            .filter(|line| line["status"] == 404 || line["status"] == 400);
        (written.count() + skipped == 201).then_some(skipped)
    })
    .await;
    assert!(skipped > 100, "{skipped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_has_time_outs_and_problem_bodies() {
    let gateway = gateway("").await;
    problem_body(&gateway, reqwest::Method::GET, "/nothing", 404, "no_route").await;
    problem_body(
        &gateway,
        reqwest::Method::POST,
        "/routes",
        405,
        "method_not_allowed",
    )
    .await;
    let mut slow = TcpStream::connect(gateway.admin).await.unwrap();
    slow.write_all(b"GET /health HTTP/1.1\r\nhost:")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let closed = timeout(DEADLINE, slow.read_to_end(&mut rest)).await;
    closed.expect("a head that never ends is given up").unwrap();
    let ready: serde_json::Value = gateway.admin("/ready").await.json().await.unwrap();
    assert_eq!(ready["checks"]["public_threads"], "ok", "{ready}");
}

async fn problem_body(
    gateway: &Gateway,
    method: reqwest::Method,
    path: &str,
    status: u16,
    code: &str,
) {
    let url = format!("http://{}{path}", gateway.admin);
    let response = client().request(method, url).send().await.unwrap();
    assert_eq!(response.status(), status);
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    assert_eq!(status == 405, response.headers().contains_key("allow"));
    let body: serde_json::Value = response.json().await.unwrap();
    assert_eq!(body["code"], code, "{body}");
}

/// The pipe holds the lines of some hundred requests; what writes the log must not wait for a reader.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_not_read_stops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (public, admin) = (free_address(), free_address());
    let file = directory.path().join("gateway.toml");
    let settings = [upstream(&[serve(echo()).await]), route("all", "/a/*", "")];
    std::fs::write(&file, settings.concat()).unwrap();
    let mut gateway = command()
        .args(["serve", "--config", file.to_str().unwrap()])
        .env("QUARTET_SERVER_LISTEN", public.to_string())
        .env("QUARTET_SERVER_ADMIN_LISTEN", admin.to_string())
        .env("QUARTET_SERVER_DIRECT_PATH", DIRECT.to_string())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stream = eventually("it listens", || async {
        TcpStream::connect(public).await.ok()
    })
    .await;
    for _ in 0..1_000 {
        stream.write_all(REQUEST).await.unwrap();
        assert_eq!(read_response(&mut stream).await.status, 200);
    }
    gateway.kill().unwrap();
    gateway.wait().unwrap();
}

/// Asks for pages and reads nothing of them until the gateway has given up; the error in the log.
async fn error_of_unread_pages(server: &str) -> String {
    let gateway = Gateway::start(&format!("[server]\n{server}\n")).await;
    // Small buffers in between, or they would hold several pages.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(gateway.public).await.unwrap();
    let request = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: a\r\n\r\n";
    let requests = request.repeat(20);
    stream.write_all(&requests).await.unwrap();
    eventually("the connection is given up", || async {
        (gateway.count("gateway_connections{").await == 0).then_some(())
    })
    .await;
    let line = eventually("the page is logged", || async {
        let mut lines = gateway.lines().into_iter();
        lines.find(|line| line["path"] == "/docs/swagger-ui-bundle.js" && line["error"].is_string())
    })
    .await;
    line["error"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_a_write_time_out() {
    let error = error_of_unread_pages("write_timeout_seconds = 1").await;
    assert!(error.contains("WriteTimedout"), "{error}");
}

/// Of the kernel, for everything that is sent on a connection.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn connections_have_a_user_time_out() {
    let times = "write_timeout_seconds = 3600\npage_timeout_seconds = 3600";
    let error = error_of_unread_pages(&format!("{times}\ntcp_user_timeout_seconds = 1")).await;
    assert!(error.contains("timed out"), "{error}");
}

/// An upstream that switches to WebSocket and then says nothing.
async fn silent_sockets() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let response = concat!(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n",
                "upgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            );
            let _ = stream.write_all(response.as_bytes()).await;
            open.push(stream);
        }
    });
    address
}

const HANDSHAKE: &[u8] = b"GET /a/ws HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

async fn websockets(gateway: &Gateway, count: usize) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(gateway.public).await.unwrap();
        stream.write_all(HANDSHAKE).await.unwrap();
        assert_eq!(read_response(&mut stream).await.status, 101);
        open.push(stream);
    }
    open
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_need_little_memory() {
    let settings = [
        upstream(&[silent_sockets().await]),
        route("all", "/a/*", "upgrade = true"),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let kilobytes = || async { gateway.count("process_resident_memory_bytes{").await / 1_000 };
    drop(websockets(&gateway, 50).await);
    let before = kilobytes().await;
    let tunnels = websockets(&gateway, 400).await;
    let each = kilobytes().await.saturating_sub(before) / 400;
    println!("{each} kB for each idle WebSocket");
    // On the general path, most of it is pingora's.
    let most = if DIRECT { 12 } else { 60 };
    assert!(each < most, "{each} kB for each idle WebSocket");
    let before = kilobytes().await;
    let mut silent = Vec::new();
    for _ in 0..400 {
        silent.push(TcpStream::connect(gateway.public).await.unwrap());
    }
    eventually("all connections are open", || async {
        (gateway.count("gateway_connections{").await >= 800).then_some(())
    })
    .await;
    let each = kilobytes().await.saturating_sub(before) / 400;
    println!("{each} kB for each connection without a byte");
    assert!(each < 16, "{each} kB for each connection without a byte");
    drop((tunnels, silent));
}

/// The kernel probes connections on both sides, so that a peer that has vanished is found.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_kept_alive_on_both_sides() {
    let upstream_address = silent_sockets().await;
    let settings = [
        upstream(&[upstream_address]),
        route("all", "/a/*", "upgrade = true"),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let open = websockets(&gateway, 1).await;
    let client = open[0].local_addr().unwrap();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let end = |address: SocketAddr| format!("0100007F:{:04X}", address.port());
    // Columns: number, local address, remote address, state, queues, timer.
    let has_timer = |local: Option<SocketAddr>, remote: SocketAddr| {
        let mut rows = table
            .lines()
            .map(|row| row.split_whitespace().collect::<Vec<_>>());
        rows.any(|row| {
            local.is_none_or(|local| row[1] == end(local))
                && row[2] == end(remote)
                && row[5].starts_with("02:")
        })
    };
    assert!(has_timer(Some(gateway.public), client), "{table}");
    assert!(has_timer(None, upstream_address), "{table}");
}
