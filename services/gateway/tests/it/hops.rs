//! What concerns one hop or one trace, on both paths side by side.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::{DEADLINE, Gateway, exchange, route, upstream};

const HANDSHAKE: &str =
    "Host: a\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
const TRACE: &str = "0123456789abcdef0123456789abcdef";

type Heads = Arc<Mutex<Vec<String>>>;

/// Keeps the heads it receives. Answers a handshake with 101, and when the client ends with `last`;
/// `/silent` with nothing; anything else with a `Date` that `Connection` nominates.
async fn peer() -> (SocketAddr, Heads) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Heads::default();
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move { respond(stream, &seen).await });
        }
    });
    (address, heads)
}

async fn respond(mut stream: TcpStream, seen: &Mutex<Vec<String>>) {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8(bytes).unwrap();
    seen.lock().unwrap().push(head.to_lowercase());
    let mut rest = Vec::new();
    if head.starts_with("GET /silent") {
        let _ = stream.read_to_end(&mut rest).await;
    } else if head.to_lowercase().contains("\r\nupgrade: ") {
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, x-mine\r\n\
                      Upgrade: WebSocket\r\nSec-WebSocket-Accept: x\r\nX-Mine: 1\r\n\r\n";
        let _ = stream.write_all(switch.as_bytes()).await;
        let _ = stream.read_to_end(&mut rest).await;
        let _ = stream.write_all(b"last").await;
    } else {
        let response = "HTTP/1.1 200 OK\r\nConnection: close, date\r\nDate: nominated\r\n\
                        Content-Length: 0\r\n\r\n";
        let _ = stream.write_all(response.as_bytes()).await;
    }
}

/// One on the general path, and one on the direct path.
async fn gateways(address: SocketAddr, trusted: &str) -> [Gateway; 2] {
    let more = "upgrade = true\nresponse_timeout_seconds = 0";
    let settings = [upstream(&[address]), route("all", "/*", more)].concat();
    let start = async |direct| {
        let variables = [
            ("QUARTET_SERVER_DIRECT_PATH", direct),
            ("QUARTET_SERVER_TRUSTED_PROXIES", trusted),
        ];
        Gateway::with_variables(&settings, &variables).await
    };
    [start("false").await, start("true").await]
}

async fn directly(gateway: &Gateway) -> usize {
    let name = "gateway_direct_requests_total{service=\"gateway\"}";
    gateway.count(name).await
}

/// Fields of a head in their order, without what differs from request to request.
fn fields(head: &str) -> Vec<&str> {
    let own = ["traceparent:", "x-request-id:", "date:"];
    let lines = head.split("\r\n").filter(|line| !line.is_empty());
    let mut fields: Vec<_> = lines
        .filter(|line| !own.iter().any(|name| line.starts_with(name)))
        .collect();
    fields.sort_unstable();
    fields
}

async fn head_of(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = async {
        while !bytes.ends_with(b"\r\n\r\n") {
            let byte = stream.read_u8().await.unwrap();
            bytes.push(byte);
        }
    };
    timeout(DEADLINE, read).await.unwrap();
    String::from_utf8(bytes).unwrap().to_lowercase()
}

async fn rest_of(stream: &mut TcpStream) -> String {
    let mut rest = String::new();
    let read = timeout(DEADLINE, stream.read_to_string(&mut rest)).await;
    read.expect("the connection is closed").unwrap();
    rest
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_offer_websocket_alone_and_are_the_same_on_both_paths() {
    let (address, heads) = peer().await;
    let gateways = gateways(address, "").await;
    for offer in [
        "Connection: Upgrade\r\nUpgrade: websocket\r\n",
        "Connection: keep-alive, Upgrade\r\nUpgrade: foo, WebSocket\r\n",
        "Connection: upgrade\r\nUpgrade: foo/1\r\nUpgrade: websocket\r\n",
    ] {
        let mut responses = Vec::new();
        for gateway in &gateways {
            let mut stream = TcpStream::connect(gateway.public).await.unwrap();
            let request = format!("GET /ws HTTP/1.1\r\n{HANDSHAKE}{offer}\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            responses.push(head_of(&mut stream).await);
        }
        let requests = std::mem::take(&mut *heads.lock().unwrap());
        for head in requests.iter().chain(&responses) {
            let of = |name| {
                fields(head)
                    .into_iter()
                    .filter(move |f| f.starts_with(name))
            };
            let options: Vec<_> = of("connection:").chain(of("upgrade:")).collect();
            let expected = ["connection: upgrade", "upgrade: websocket"];
            assert_eq!(options, expected, "{offer}: {head}");
        }
        assert!(!responses[0].contains("x-mine"), "{}", responses[0]);
        assert_eq!(fields(&requests[0]), fields(&requests[1]), "{offer}");
        assert_eq!(fields(&responses[0]), fields(&responses[1]), "{offer}");
    }
    assert_eq!(directly(&gateways[0]).await, 0);
    assert_eq!(directly(&gateways[1]).await, 3);
}

/// A field that `Connection` names ends at the gateway, and the upstream could not accept without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_removes_a_part_of_itself_is_refused() {
    let (address, heads) = peer().await;
    let gateways = gateways(address, "").await;
    for named in ["sec-websocket-key", "x-hop, Sec-WebSocket-Protocol"] {
        for gateway in &gateways {
            let offer = format!("Connection: Upgrade, {named}\r\nUpgrade: websocket\r\n");
            let request = format!("GET /ws HTTP/1.1\r\n{HANDSHAKE}{offer}\r\n");
            let response = exchange(gateway.public, request.as_bytes()).await;
            response.problem(400, "malformed_request");
            let detail = "Connection names a header of the WebSocket handshake";
            assert!(response.body.contains(detail), "{response:?}");
        }
    }
    assert!(heads.lock().unwrap().is_empty());
}

/// Documented in the README: pingora ends a tunnel with its first half.
#[tokio::test(flavor = "multi_thread")]
async fn the_half_close_of_a_websocket_passes_on_the_direct_path_only() {
    let (address, _) = peer().await;
    let [general, direct] = gateways(address, "").await;
    for (gateway, last) in [(general, ""), (direct, "last")] {
        let mut stream = TcpStream::connect(gateway.public).await.unwrap();
        let offer = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
        let request = format!("GET /ws HTTP/1.1\r\n{HANDSHAKE}{offer}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        head_of(&mut stream).await;
        stream.shutdown().await.unwrap();
        assert_eq!(rest_of(&mut stream).await, last);
    }
}

/// Where a response may be silent indefinitely, only the end of its client ends the request.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_half_closes_before_an_endless_silence_is_given_up_on_both_paths() {
    let (address, _) = peer().await;
    for gateway in gateways(address, "").await {
        let mut stream = TcpStream::connect(gateway.public).await.unwrap();
        let request = b"GET /silent HTTP/1.1\r\nhost: a\r\n\r\n";
        stream.write_all(request).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(rest_of(&mut stream).await, "");
        assert_eq!(gateway.access_line("/silent").await["status"], 499);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_untrusted_clients_say_about_traces_stays_here() {
    let (address, heads) = peer().await;
    let parent = format!("traceparent: 00-{TRACE}-0123456789abcdef-01\r\n");
    for (trusted, parent, passed) in [
        ("", &*parent, &[][..]),
        ("", "", &[]),
        ("127.0.0.0/8", &parent, &["baggage: b=2", "tracestate: a=1"]),
        // Without the trace that it belongs to, a state means nothing.
        ("127.0.0.0/8", "", &["baggage: b=2"]),
        ("127.0.0.0/8", "traceparent: 00-x\r\n", &["baggage: b=2"]),
    ] {
        for gateway in gateways(address, trusted).await {
            let details = "Tracestate: a=1\r\nbaggage: b=2\r\n";
            let request = format!("GET /a HTTP/1.1\r\nhost: a\r\n{parent}{details}\r\n");
            let response = exchange(gateway.public, request.as_bytes()).await;
            assert_eq!(response.status, 200);
            let head = heads.lock().unwrap().pop().unwrap();
            let mut seen = fields(&head);
            seen.retain(|field| field.starts_with("baggage") || field.starts_with("tracestate"));
            assert_eq!(seen, passed, "{trusted} {parent}");
        }
    }
}

/// A field that the upstream nominates stays in its hop, and a response still has a date.
#[tokio::test(flavor = "multi_thread")]
async fn a_nominated_date_is_replaced() {
    let (address, _) = peer().await;
    for gateway in gateways(address, "").await {
        let response = exchange(gateway.public, b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let dates = response.head.matches("\r\ndate: ").count();
        assert_eq!(dates, 1, "{}", response.head);
        assert!(!response.head.contains("nominated"), "{}", response.head);
    }
}
