//! Bounds of heads in both directions, and of the whole time of a request.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{interval, sleep, timeout},
};

use crate::support::{DEADLINE, Gateway, echo, exchange, route, serve, upstream};

/// Answers every connection with a head of these lines.
async fn with_head(lines: String) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = Vec::new();
            while !bytes.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{lines}\r\nok");
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut bytes).await;
        }
    });
    address
}

async fn in_front_of(address: std::net::SocketAddr) -> Gateway {
    let settings = [upstream(&[address]), route("all", "/*", "")];
    Gateway::start(&settings.concat()).await
}

/// Sessions of single-page applications and of old frameworks are as large.
#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_kilobytes_of_cookies_pass() {
    let cookies: Vec<String> = (0..8)
        .map(|n| format!("c{n}={}", "x".repeat(4090)))
        .collect();
    let gateway = in_front_of(serve(echo()).await).await;
    let request = format!(
        "GET /a HTTP/1.1\r\nHost: a\r\nCookie: {}\r\n\r\n",
        cookies.join("; ")
    );
    assert!(request.len() > 32 * 1024);
    let response = exchange(gateway.public, request.as_bytes()).await;
    assert_eq!(response.status, 200);
    for cookie in &cookies {
        assert!(response.body.contains(cookie.as_str()));
    }
    let lines = format!("Set-Cookie: {}\r\n", cookies.join("\r\nSet-Cookie: "));
    let gateway = in_front_of(with_head(lines).await).await;
    let response = exchange(gateway.public, b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(response.status, 200);
    assert_eq!(response.head.matches("\r\nset-cookie: c").count(), 8);
    assert!(response.head.len() > 32 * 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn response_heads_are_bounded() {
    let line = format!("X-Filler: {}\r\n", "x".repeat(1000));
    for (lines, status) in [(60, 200), (70, 502), (2000, 502)] {
        let gateway = in_front_of(with_head(line.repeat(lines)).await).await;
        let response = exchange(
            gateway.public,
            b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        )
        .await;
        if status == 200 {
            assert_eq!((response.status, &*response.body), (200, "ok"));
        } else {
            response.problem(502, "bad_gateway");
        }
    }
}

const LATE: Duration = Duration::from_millis(2500);

/// Sends a head and then a byte every 50 ms, without end; to `/silent` nothing, to `/late` a late head.
async fn slow_body() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                while !bytes.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                if bytes.starts_with(b"GET /silent") {
                    let _ = stream.read_to_end(&mut bytes).await;
                    return;
                }
                let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                if bytes.starts_with(b"GET /late") {
                    sleep(LATE).await;
                    let _ = stream.write_all(head).await;
                    let _ = stream.read_to_end(&mut bytes).await;
                    return;
                }
                let mut part: &[u8] = head;
                let mut ticks = interval(Duration::from_millis(50));
                while stream.write_all(part).await.is_ok() {
                    ticks.tick().await;
                    part = b"1\r\nx\r\n";
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_ends_in_its_time_whatever_the_upstream_sends() {
    let settings = [
        upstream(&[slow_body().await]),
        route(
            "all",
            "/*",
            "request_timeout_seconds = 1\nresponse_timeout_seconds = 15",
        ),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let started = Instant::now();
    let response = exchange(gateway.public, b"GET /silent HTTP/1.1\r\nHost: a\r\n\r\n").await;
    response.problem(504, "upstream_timeout");
    let mut stream = TcpStream::connect(gateway.public).await.unwrap();
    stream
        .write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut bytes = Vec::new();
    let read = timeout(DEADLINE, stream.read_to_end(&mut bytes)).await;
    read.expect("the connection is closed").unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    assert!(
        !text.ends_with("0\r\n\r\n"),
        "it must not look complete: {text}"
    );
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(started.elapsed() > Duration::from_secs(2));
}

/// The time of a request is one, however its parts are spread over it.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_head_leaves_no_more_time_for_the_body() {
    for more in ["", "try_timeout_ms = 60000\n"] {
        let settings = [
            upstream(&[slow_body().await]),
            more.to_owned(),
            route("all", "/*", "request_timeout_seconds = 3"),
        ];
        let gateway = Gateway::start(&settings.concat()).await;
        let started = Instant::now();
        let mut stream = TcpStream::connect(gateway.public).await.unwrap();
        stream
            .write_all(b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let mut bytes = Vec::new();
        let read = timeout(DEADLINE, stream.read_to_end(&mut bytes)).await;
        read.expect("the connection is closed").unwrap();
        let took = started.elapsed();
        assert!(bytes.starts_with(b"HTTP/1.1 200 "));
        assert!(
            took > LATE && took < LATE + Duration::from_secs(2),
            "{took:?}"
        );
    }
}
