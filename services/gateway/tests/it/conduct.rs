//! HTTP/1 by the book: requests that overlap, interim responses, framing, headers of one hop.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::{
    DEADLINE, Gateway, RawResponse, echo, eventually, exchange, read_next, read_response, route,
    serve, upstream,
};

/// An upstream that answers every request head with these bytes, and remembers the heads.
async fn canned(response: &'static [u8]) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                while stream.read_buf(&mut bytes).await.unwrap_or_default() > 0 {
                    while let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                        let head: Vec<u8> = bytes.drain(..at + 4).collect();
                        let head = String::from_utf8_lossy(&head).to_lowercase();
                        seen.lock().unwrap().push(head);
                        if stream.write_all(response).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    (address, heads)
}

async fn in_front_of(address: SocketAddr, more: &str) -> Gateway {
    Gateway::start(&[upstream(&[address]), route("all", "/*", more)].concat()).await
}

async fn connect(gateway: &Gateway) -> TcpStream {
    TcpStream::connect(gateway.public).await.unwrap()
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(DEADLINE, stream.read_to_end(&mut bytes)).await;
    read.expect("the connection is closed in time").unwrap();
    String::from_utf8(bytes).unwrap().to_lowercase()
}

fn path(response: &RawResponse) -> String {
    let body: serde_json::Value = serde_json::from_str(&response.body).unwrap();
    body["path"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_do_not_wait_for_responses_are_all_served_in_order() {
    let gateway = in_front_of(serve(echo()).await, "").await;
    // In one segment, with bodies of both kinds between them, and with stray line ends.
    let mut stream = connect(&gateway).await;
    let mut rest = Vec::new();
    let requests = concat!(
        "GET /1 HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody\r\n",
        "POST /3 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n",
        "\r\n\r\nGET /4 HTTP/1.1\r\nhost: a\r\n\r\n",
    );
    stream.write_all(requests.as_bytes()).await.unwrap();
    for expected in ["/1", "/2", "/3", "/4"] {
        let response = read_next(&mut stream, &mut rest).await;
        assert_eq!((response.status, &*path(&response)), (200, expected));
    }
    // Byte by byte, whatever the gateway is doing.
    for byte in requests.bytes() {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    for expected in ["/1", "/2", "/3", "/4"] {
        assert_eq!(path(&read_next(&mut stream, &mut rest).await), expected);
    }
    // The connection is not spoiled.
    stream
        .write_all(b"GET /5 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let rest = read_to_end(&mut stream).await;
    assert!(rest.starts_with("http/1.1 200"), "{rest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_during_a_response_waits_and_does_not_abort_it() {
    let (address, permits) = crate::support::held().await;
    let gateway = in_front_of(address, "").await;
    let mut stream = connect(&gateway).await;
    let request = "GET /held HTTP/1.1\r\nhost: a\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    eventually("the first request is in flight", || async {
        let active = "http_server_active_requests{service=\"gateway\",http_request_method=\"GET\"}";
        (gateway.metric(active).await >= 1.0).then_some(())
    })
    .await;
    // More than is read ahead: the client has to wait, and nothing is lost.
    let many = 1_000;
    let (mut read, mut write) = stream.into_split();
    let sender = tokio::spawn(async move {
        for _ in 0..many {
            let next = "GET /next HTTP/1.1\r\nhost: a\r\n\r\n\r\n";
            write.write_all(next.as_bytes()).await.unwrap();
        }
        write
    });
    permits.add_permits(1);
    let mut received = String::new();
    let all = timeout(DEADLINE, async {
        while received.matches("http/1.1 200").count() < many + 1 {
            let mut bytes = vec![0; 65_536];
            let length = read.read(&mut bytes).await.unwrap();
            assert!(
                length > 0,
                "closed after {}",
                received.matches("http/1.1 200").count()
            );
            received += &String::from_utf8_lossy(&bytes[..length]).to_lowercase();
        }
    });
    all.await.expect("every response in time");
    assert!(received.contains("released"));
    sender.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_half_closes_gets_its_responses() {
    let gateway = in_front_of(serve(echo()).await, "").await;
    let mut stream = connect(&gateway).await;
    stream
        .write_all(b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    let all = read_to_end(&mut stream).await;
    assert_eq!(all.matches("http/1.1 200").count(), 2, "{all}");
    assert_eq!(gateway.access_line("/2").await["status"], 200);
}

/// Closing a connection whose bytes are unread is a reset, and a reset discards what the client has
/// not read yet.
#[tokio::test(flavor = "multi_thread")]
async fn requests_behind_one_that_fails_do_not_reset_its_response() {
    let (address, _) = canned(b"nonsense\r\n\r\n").await;
    let gateway = in_front_of(address, "").await;
    let next = "GET /next HTTP/1.1\r\nhost: a\r\n\r\n";
    let behind = next.repeat(80_000 / next.len());
    for number in 0..10 {
        let path = format!("/first/{number}");
        let first = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
        let mut stream = connect(&gateway).await;
        let (mut reader, mut writer) = stream.split();
        // A closed connection may refuse the rest.
        let ((), text) = tokio::join!(
            async {
                let _ = writer.write_all(first.as_bytes()).await;
                let _ = writer.write_all(behind.as_bytes()).await;
            },
            async {
                // A client that is slow to read: the end of the connection comes first.
                let line = gateway.access_line(&path).await;
                assert_eq!(line["status"], 502, "{line}");
                let mut bytes = Vec::new();
                let read = timeout(DEADLINE, reader.read_to_end(&mut bytes)).await;
                read.expect("the connection is closed in time").unwrap();
                String::from_utf8(bytes).unwrap().to_lowercase()
            }
        );
        assert!(text.starts_with("http/1.1 502 "), "{text}");
        assert_eq!(text.matches("http/1.1 ").count(), 1, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_clients_get_no_chunks() {
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let (address, _) = canned(chunked).await;
    let gateway = in_front_of(address, "").await;
    for keep_alive in ["", "connection: keep-alive\r\n"] {
        let mut stream = connect(&gateway).await;
        let request = format!("GET /x HTTP/1.0\r\n{keep_alive}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let response = read_to_end(&mut stream).await;
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(!head.contains("transfer-encoding"), "{head}");
        assert!(head.contains("connection: close"), "{head}");
        assert_eq!(body, "hello");
    }
    // With a length, the connection can be kept.
    let (address, _) = canned(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let gateway = in_front_of(address, "").await;
    let mut stream = connect(&gateway).await;
    for _ in 0..2 {
        stream
            .write_all(b"GET /x HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(read_response(&mut stream).await.body, "ok");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn response_headers_of_the_upstreams_connection_stay_there() {
    let (address, _) = canned(concat!(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: x-mine, keep-alive, content-length\r\n",
        "x-mine: 1\r\nkeep-alive: timeout=5\r\nproxy-authenticate: basic\r\nupgrade: h2c\r\n",
        "proxy-connection: close\r\ntrailer: x\r\nte: trailers\r\nx-kept: 1\r\n\r\nok"
    ).as_bytes())
    .await;
    let gateway = in_front_of(address, "").await;
    let response = exchange(gateway.public, b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(response.body, "ok");
    for name in [
        "x-mine",
        "\r\nkeep-alive",
        "proxy-authenticate",
        "upgrade",
        "proxy-connection",
        "trailer",
        "\r\nte",
    ] {
        assert!(
            !response.head.contains(&format!("{name}:")),
            "{}",
            response.head
        );
    }
    assert!(response.head.contains("x-kept: 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn expecting_100_continue_keeps_the_connection() {
    let gateway = in_front_of(serve(echo()).await, "body_limit_bytes = 10").await;
    let mut stream = connect(&gateway).await;
    let head = "POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n";
    for _ in 0..2 {
        stream.write_all(head.as_bytes()).await.unwrap();
        let interim = read_response(&mut stream).await;
        assert_eq!(interim.status, 100, "{interim:?}");
        for header in ["x-request-id", "traceparent", "connection"] {
            assert!(!interim.head.contains(header), "{interim:?}");
        }
        stream.write_all(b"body").await.unwrap();
        let response = read_response(&mut stream).await;
        assert_eq!(response.status, 200);
        assert!(
            response.head.contains("connection: keep-alive"),
            "{response:?}"
        );
    }
    // Refused: the answer arrives although the body never will.
    let too_large = head.replace("content-length: 4", "content-length: 400");
    stream.write_all(too_large.as_bytes()).await.unwrap();
    let response = read_response(&mut stream).await;
    response.problem(413, "body_too_large");
    assert!(response.head.contains("connection: close"), "{response:?}");
    // Too large only when it has been sent.
    let mut stream = connect(&gateway).await;
    let chunked = head.replace("content-length: 4", "transfer-encoding: chunked");
    stream.write_all(chunked.as_bytes()).await.unwrap();
    assert_eq!(read_response(&mut stream).await.status, 100);
    stream.write_all(b"f\r\n0123456789abcde\r\n").await.unwrap();
    let response = read_response(&mut stream).await;
    response.problem(413, "body_too_large");
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_responses_pass_without_headers_of_the_final_one() {
    let (address, _) = canned(
        concat!(
            "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
        )
        .as_bytes(),
    )
    .await;
    let gateway = in_front_of(address, "").await;
    let mut stream = connect(&gateway).await;
    let mut rest = Vec::new();
    stream
        .write_all(b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let interim = read_next(&mut stream, &mut rest).await;
    assert_eq!(interim.status, 103);
    assert!(
        interim.head.contains("link:") && !interim.head.contains("x-request-id"),
        "{interim:?}"
    );
    let response = read_next(&mut stream, &mut rest).await;
    assert_eq!((response.status, &*response.body), (200, "ok"));
    assert!(response.head.contains("x-request-id"), "{response:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_servers_confuse_are_dropped() {
    let (address, heads) = canned(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let sent = concat!(
        "GET /x HTTP/1.1\r\nhost: a\r\nproxy: http://evil\r\nx-forwarded: for=1\r\n",
        "content_length: 5\r\nx_anything: 1\r\nx-kept: 1\r\n\r\n"
    );
    let gateway = in_front_of(address, "").await;
    assert_eq!(exchange(gateway.public, sent.as_bytes()).await.status, 200);
    let head = heads.lock().unwrap().pop().unwrap();
    for name in ["\r\nproxy:", "\r\nx-forwarded:", "_"] {
        assert!(!head.contains(name), "{head}");
    }
    assert!(head.contains("x-kept"), "{head}");
    let allowed = [("QUARTET_SERVER_ALLOW_UNDERSCORE_HEADERS", "true")];
    let settings = [upstream(&[address]), route("all", "/*", "")].concat();
    let gateway = Gateway::with_variables(&settings, &allowed).await;
    assert_eq!(exchange(gateway.public, sent.as_bytes()).await.status, 200);
    let head = heads.lock().unwrap().pop().unwrap();
    assert!(
        head.contains("x_anything: 1") && !head.contains("\r\nproxy:"),
        "{head}"
    );
}

/// An upstream that reads `_` as `-` must not find the client's value beside, or in place of, an edited one.
#[tokio::test(flavor = "multi_thread")]
async fn edits_hold_for_every_spelling_of_a_name() {
    let (address, heads) = canned(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let edits = "request_headers = { x-tenant = \"a\", x-debug-level = \"\" }";
    let settings = [upstream(&[address]), route("all", "/*", edits)].concat();
    let allowed = [("QUARTET_SERVER_ALLOW_UNDERSCORE_HEADERS", "true")];
    let gateway = Gateway::with_variables(&settings, &allowed).await;
    let sent = "GET /x HTTP/1.1\r\nhost: a\r\nX_Tenant: b\r\nx_debug-level: 1\r\nx_kept: 1\r\n\r\n";
    assert_eq!(exchange(gateway.public, sent.as_bytes()).await.status, 200);
    let head = heads.lock().unwrap().pop().unwrap();
    assert!(
        head.contains("x-tenant: a\r\n") && head.contains("x_kept: 1"),
        "{head}"
    );
    assert!(
        !head.contains("x_tenant") && !head.contains("debug"),
        "{head}"
    );
}

/// pingora sets `Date` in every response of the general path, whatever the origin's is.
#[tokio::test(flavor = "multi_thread")]
async fn the_date_of_the_origin_is_kept() {
    let origin = "Sun, 06 Nov 1994 08:49:37 GMT";
    for rest in [
        "content-length: 2\r\n\r\nok",
        "transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ] {
        let response = format!("HTTP/1.1 200 OK\r\ndate: {origin}\r\n{rest}");
        let (address, _) = canned(response.leak().as_bytes()).await;
        let gateway = in_front_of(address, "").await;
        let response = gateway.get("/x").await;
        let dates: Vec<_> = response.headers().get_all("date").iter().collect();
        assert_eq!(dates, [origin]);
        assert_eq!(response.text().await.unwrap(), "ok");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_request_is_said() {
    let gateway = in_front_of(serve(echo()).await, "").await;
    let many: Vec<String> = (0..10).map(|n| format!("x-{n}")).collect();
    for (connection, detail) in [
        (&*many.join(", "), "Connection names more than nine headers"),
        (
            "close, X-Forwarded-For",
            "Connection names a header that every hop needs",
        ),
    ] {
        let request = format!("GET /x HTTP/1.1\r\nhost: a\r\nconnection: {connection}\r\n\r\n");
        let response = exchange(gateway.public, request.as_bytes()).await;
        response.problem(400, "malformed_request");
        assert!(response.body.contains(detail), "{response:?}");
    }
    for method in ["TRACE", "CONNECT"] {
        let request = format!("{method} /x HTTP/1.1\r\nhost: a\r\n\r\n");
        let response = exchange(gateway.public, request.as_bytes()).await;
        response.problem(405, "method_not_allowed");
    }
    let request = "POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999999\r\n\r\n";
    let response = exchange(gateway.public, request.as_bytes()).await;
    response.problem(400, "malformed_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_trusted_proxies_continue_a_trace() {
    let parent = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01";
    let trace = |response: &RawResponse| {
        let line = response
            .head
            .lines()
            .find(|line| line.starts_with("traceparent: "));
        line.unwrap().split('-').nth(1).unwrap().to_owned()
    };
    let request = format!("GET /x HTTP/1.1\r\nhost: a\r\ntraceparent: {parent}\r\n\r\n");
    let settings = [upstream(&[serve(echo()).await]), route("all", "/*", "")].concat();
    for (trusted, continued) in [("", false), ("127.0.0.0/8", true)] {
        let variables = [("QUARTET_SERVER_TRUSTED_PROXIES", trusted)];
        let gateway = Gateway::with_variables(&settings, &variables).await;
        let response = exchange(gateway.public, request.as_bytes()).await;
        let sent = trace(&response) == "0123456789abcdef0123456789abcdef";
        assert_eq!(sent, continued, "{response:?}");
    }
}

/// The upstream sends its first frame together with the response; the client sends one together
/// with the request. pingora closes the tunnel in some of many parallel handshakes if it has read
/// the response before it has passed on the end of the request.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_messages_of_a_websocket_always_arrive() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let listener = listener.into_std().unwrap();
        listener.set_nonblocking(false).unwrap();
        for stream in listener.incoming() {
            std::thread::spawn(move || serve_frames(stream.unwrap()));
        }
    });
    // The backlog of the upstream is smaller than the number of handshakes.
    let settings = [
        upstream(&[address]),
        "connect_timeout_ms = 20000\n".to_owned(),
        route("all", "/*", "upgrade = true"),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let handshakes = (0..640).map(|_| async {
        let mut stream = TcpStream::connect(gateway.public).await.unwrap();
        let request = concat!(
            "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n",
            "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            "\u{1}\u{2}early"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let complete = timeout(DEADLINE, async {
            while !bytes.ends_with(b"early") {
                if stream.read_buf(&mut bytes).await.unwrap() == 0 {
                    break;
                }
            }
        });
        let in_time = complete.await.is_ok();
        let arrived = in_time && bytes.ends_with(b"\x81\x05hello\x01\x02early");
        (!arrived).then(|| String::from_utf8_lossy(&bytes).into_owned())
    });
    let lost: Vec<String> = join_all(handshakes).await.into_iter().flatten().collect();
    assert!(
        lost.is_empty(),
        "{} of 640, first: {:?}",
        lost.len(),
        lost.first()
    );
}

/// Sends 101 and a frame at once, and then whatever it receives.
fn serve_frames(mut stream: std::net::TcpStream) {
    use std::io::{Read as _, Write as _};
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        let length = stream.read(&mut part).unwrap();
        if length == 0 {
            return;
        }
        bytes.extend_from_slice(&part[..length]);
    };
    let response = concat!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n",
        "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    );
    let first = [response.as_bytes(), b"\x81\x05hello", &bytes[end..]].concat();
    stream.write_all(&first).unwrap();
    while let Ok(length @ 1..) = stream.read(&mut part) {
        if stream.write_all(&part[..length]).is_err() {
            return;
        }
    }
}
