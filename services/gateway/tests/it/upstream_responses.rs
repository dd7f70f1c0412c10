//! Responses of upstreams that break the rules, and requests that would.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::{DEADLINE, Gateway, RawResponse, exchange, route, upstream};

type Heads = Arc<Mutex<Vec<String>>>;

/// Answers the request for `/3` with the fourth of these, and keeps the heads of requests.
async fn scripted(responses: Vec<String>) -> (SocketAddr, Heads) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (heads, responses) = (Heads::default(), Arc::new(responses));
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (seen, responses) = (Arc::clone(&seen), Arc::clone(&responses));
            tokio::spawn(async move { answer(stream, &seen, &responses).await });
        }
    });
    (address, heads)
}

async fn answer(mut stream: TcpStream, seen: &Mutex<Vec<String>>, responses: &[String]) {
    let mut bytes = Vec::new();
    while stream.read_buf(&mut bytes).await.unwrap_or_default() > 0 {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head: Vec<u8> = bytes.drain(..end + 4).collect();
        let head = String::from_utf8(head).unwrap();
        let number = head.split(['/', ' ']).nth(2).unwrap();
        let response = &responses[number.parse::<usize>().unwrap()];
        seen.lock().unwrap().push(head.to_lowercase());
        if stream.write_all(response.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn in_front_of(address: SocketAddr) -> Gateway {
    let settings = [upstream(&[address]), route("all", "/*", "upgrade = true")];
    Gateway::start(&settings.concat()).await
}

/// What is received until the connection is closed.
async fn everything(gateway: &Gateway, request: &str) -> String {
    let mut stream = TcpStream::connect(gateway.public).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let read = timeout(DEADLINE, stream.read_to_end(&mut bytes)).await;
    read.expect("the connection is closed in time").unwrap();
    String::from_utf8(bytes).unwrap().to_lowercase()
}

/// The client of the next response would otherwise read a part of this one, or the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn responses_whose_end_is_in_doubt_are_not_passed_on() {
    const HANDSHAKE: &str = "Connection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    let cases = [
        "200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        "200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        "200 OK\r\nContent-Length: +2\r\n\r\nok",
        "200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "204 No Content\r\nContent-Length: 4\r\n\r\nevil",
        "204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
        "103 Early Hints\r\nContent-Length: 4\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "600 Odd\r\nContent-Length: 2\r\n\r\nok",
        "999 Odd\r\nContent-Length: 2\r\n\r\nok",
        "101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Content-Length: 2\r\n\r\nok",
    ];
    let mut responses: Vec<_> = cases
        .iter()
        .map(|case| format!("HTTP/1.1 {case}"))
        .collect();
    let chunks = "\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    responses.push(format!("HTTP/1.0 200 OK{chunks}"));
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    let good = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    responses.push([&interim.repeat(17), good].concat());
    responses.push([&interim.repeat(16), good].concat());
    let (address, _) = scripted(responses.clone()).await;
    let gateway = in_front_of(address).await;
    let (accepted, refused) = responses.split_last().unwrap();
    for (number, response) in refused.iter().enumerate() {
        let upgrade = if response.contains(" 101 ") {
            HANDSHAKE
        } else {
            ""
        };
        let request = format!("GET /{number} HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n");
        let text = everything(&gateway, &request).await;
        let (interim, last) = text.split_at(text.rfind("http/1.1 ").unwrap());
        assert!(last.starts_with("http/1.1 502 "), "{response}: {text}");
        assert!(
            last.contains("\"code\":\"bad_gateway\""),
            "{response}: {text}"
        );
        assert!(interim.matches(" 103 ").count() <= 16, "{response}: {text}");
    }
    let request = format!(
        "GET /{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        refused.len()
    );
    let text = everything(&gateway, &request).await;
    assert_eq!(text.matches(" 103 ").count(), 16, "{accepted}: {text}");
    assert!(text.ends_with("\r\n\r\nok"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_without_a_body_have_no_length() {
    let response = "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n";
    let (address, _) = scripted(vec![response.to_owned()]).await;
    let gateway = in_front_of(address).await;
    let response = exchange(gateway.public, b"GET /0 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let RawResponse { status, head, .. } = response;
    assert_eq!(status, 204);
    assert!(!head.contains("content-length"), "{head}");
}

/// They would take the first head for the only one (RFC 9110, 15.2).
#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_clients_get_no_interim_responses() {
    let good = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let responses = [
        "100 Continue",
        "102 Processing",
        "103 Early Hints\r\nLink: a",
    ];
    let responses = responses.map(|interim| format!("HTTP/1.1 {interim}\r\n\r\n{good}"));
    let (address, heads) = scripted(responses.to_vec()).await;
    let gateway = in_front_of(address).await;
    for number in 0..responses.len() {
        for expect in ["", "Expect: 100-continue\r\n"] {
            let request = format!("GET /{number} HTTP/1.0\r\nHost: a\r\n{expect}\r\n");
            let text = everything(&gateway, &request).await;
            assert!(text.starts_with("http/1.1 200 "), "{request}: {text}");
            assert!(text.ends_with("\r\n\r\nok"), "{request}: {text}");
        }
    }
    let heads = heads.lock().unwrap();
    assert!(
        !heads.iter().any(|head| head.contains("expect:")),
        "{heads:?}"
    );
}

/// HTTP/1.1 demands it, and HTTP/1.0 does not.
#[tokio::test(flavor = "multi_thread")]
async fn every_request_to_a_replica_has_a_host() {
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let (address, heads) = scripted(vec![response.to_owned()]).await;
    let gateway = in_front_of(address).await;
    for (host, expected) in [
        ("", address.to_string()),
        ("Host: B.test\r\n", "b.test".to_owned()),
    ] {
        let request = format!("GET /0 HTTP/1.0\r\n{host}\r\n");
        everything(&gateway, &request).await;
        let head = heads.lock().unwrap().pop().unwrap();
        let hosts: Vec<_> = head
            .lines()
            .filter_map(|line| line.strip_prefix("host: "))
            .collect();
        assert_eq!(hosts, [expected], "{head}");
        assert!(head.starts_with("get /0 http/1.1\r\n"), "{head}");
    }
}

/// The next event may never come, so only the end of the client ends the stream.
#[tokio::test(flavor = "multi_thread")]
async fn event_streams_end_with_their_client() {
    for kind in ["text/event-stream", "Text/Event-Stream; charset=utf-8"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = in_front_of(listener.local_addr().unwrap()).await;
        let mut client = TcpStream::connect(gateway.public).await.unwrap();
        let request = b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n";
        client.write_all(request).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: ";
        let first = "9\r\ndata: 1\n\n\r\n";
        let response = [head, kind, "\r\n\r\n", first].concat();
        stream.write_all(response.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(first.as_bytes()) {
            assert!(client.read_buf(&mut bytes).await.unwrap() > 0, "{kind}");
        }
        client.shutdown().await.unwrap();
        let mut request = Vec::new();
        let read = timeout(DEADLINE, stream.read_to_end(&mut request)).await;
        read.unwrap_or_else(|_| panic!("{kind}: the upstream is left"))
            .unwrap();
    }
}
