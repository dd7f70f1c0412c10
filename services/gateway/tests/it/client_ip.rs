//! Whose request it is: PROXY headers, `Forwarded`, and headers that only proxies may set.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    DEADLINE, Gateway, echo, eventually, exchange, free_address, read_next, route, serve, upstream,
};

const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";

/// A gateway whose listener demands a PROXY header of its `trusted` peers.
async fn behind_proxy(trusted: &str, more: &str) -> (Gateway, SocketAddr) {
    let address = free_address();
    let settings = [
        upstream(&[serve(echo()).await]),
        route("all", "/*", ""),
        format!(
            "[server]\nlisten = [{{ address = \"{address}\", proxy_protocol = true }}]\n\
             trusted_proxies = [{trusted}]\n{more}\n"
        ),
    ];
    let variables = [("QUARTET_SERVER_LISTEN", "")];
    let gateway = Gateway::with_variables(&settings.concat(), &variables).await;
    (gateway, address)
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [
        b"\r\n\r\n\0\r\nQUIT\n",
        &[command, family][..],
        &length,
        rest,
    ]
    .concat()
}

fn header<'e>(echoed: &'e Value, name: &str) -> Vec<&'e str> {
    let pairs = echoed["headers"].as_array().unwrap().iter();
    let values = pairs.filter(|pair| pair[0] == name);
    values.map(|pair| pair[1].as_str().unwrap()).collect()
}

/// What the upstream learns, after these bytes.
async fn echoed(address: SocketAddr, bytes: &[u8]) -> Value {
    let response = exchange(address, bytes).await;
    assert_eq!(response.status, 200, "{response:?}");
    serde_json::from_str(&response.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_header_names_the_client() {
    let (gateway, address) = behind_proxy("\"127.0.0.0/8\", \"10.0.0.0/8\"", "").await;
    let four = [192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 0x04, 1, 0xbb];
    let mut six = [0; 36];
    (six[0], six[1], six[15]) = (0x20, 0x01, 1);
    let with_more = [&four[..], &[3, 0, 4, 1, 2, 3, 4]].concat();
    for (head, client) in [
        (
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(),
            "192.0.2.1",
        ),
        (
            b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n".to_vec(),
            "2001:db8::1",
        ),
        (
            b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n".to_vec(),
            "192.0.2.1",
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), "0.0.0.0"),
        (v2(0x21, 0x00, &[]), "0.0.0.0"),
        (v2(0x21, 0x31, &[1; 216]), "0.0.0.0"),
        (v2(0x21, 0x11, &four), "192.0.2.1"),
        (v2(0x21, 0x11, &with_more), "192.0.2.1"),
        (v2(0x21, 0x21, &six), "2001::1"),
        (v2(0x20, 0x00, &[]), "127.0.0.1"),
    ] {
        let echoed = echoed(address, &[&head[..], REQUEST].concat()).await;
        assert_eq!(header(&echoed, "x-forwarded-for"), [client], "{head:?}");
    }
    // What a client behind such a proxy says itself is not believed, unless it is a proxy too.
    let request = b"GET /a HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n";
    for (client, expected) in [("192.0.2.1", "192.0.2.1"), ("10.0.0.1", "1.1.1.1")] {
        let head = format!("PROXY TCP4 {client} 192.0.2.2 1 2\r\n");
        let echoed = echoed(address, &[head.as_bytes(), request].concat()).await;
        assert_eq!(header(&echoed, "x-forwarded-for"), [expected]);
    }
    // Nor of one that the proxy does not know: it is not the proxy.
    let unknown = [&b"PROXY UNKNOWN\r\n"[..], request].concat();
    let echoed_unknown = echoed(address, &unknown).await;
    assert_eq!(header(&echoed_unknown, "x-forwarded-for"), ["0.0.0.0"]);
    // The connection continues as any other, and the header may come in parts.
    let mut stream = TcpStream::connect(address).await.unwrap();
    for part in [
        &b"PRO"[..],
        b"XY TCP4 192.0.2.9 192.0.2.2 1 2\r",
        b"\n",
        REQUEST,
    ] {
        stream.write_all(part).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut rest = Vec::new();
    assert!(
        read_next(&mut stream, &mut rest)
            .await
            .body
            .contains("192.0.2.9")
    );
    stream.write_all(REQUEST).await.unwrap();
    assert!(
        read_next(&mut stream, &mut rest)
            .await
            .body
            .contains("192.0.2.9")
    );
    assert_eq!(gateway.access_line("/a").await["client"], "192.0.2.1");
}

async fn is_closed(address: SocketAddr, bytes: &[u8]) -> bool {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut received = Vec::new();
    let read = timeout(DEADLINE, stream.read_to_end(&mut received)).await;
    // A reset, if bytes were unread.
    let _ = read.expect("the connection is closed");
    received.is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_a_valid_proxy_header_are_closed() {
    let (gateway, address) = behind_proxy("\"127.0.0.0/8\"", "header_timeout_seconds = 1").await;
    let refused = [
        REQUEST.to_vec(),
        b"PROXY TCP4 a b 1 2\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n".to_vec(),
        [&b"PROXY "[..], &[b'x'; 200]].concat(),
        v2(0x21, 0x12, &[0; 12]),
        v2(0x21, 0x11, &[0; 5000]),
        // Waits for more than ever comes.
        b"PROXY TCP4 192.0.2.1 ".to_vec(),
    ];
    for bytes in &refused {
        assert!(is_closed(address, bytes).await, "{bytes:?}");
    }
    let name = "gateway_connections_refused_total{service=\"gateway\",cap=\"proxy_header\"}";
    assert_eq!(gateway.count(name).await, refused.len());
    eventually("the reason is logged", || async {
        let lines = gateway.lines();
        let line = lines
            .iter()
            .find(|line| line["msg"] == "a connection was closed")?;
        assert_eq!(line["peer"], "127.0.0.1", "{line}");
        line["error"].as_str().map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_trusted_peers_may_send_a_proxy_header() {
    let (_gateway, address) = behind_proxy("\"10.0.0.0/8\"", "").await;
    let bytes = [&b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"[..], REQUEST].concat();
    assert!(is_closed(address, &bytes).await);
}

/// The cap is the client's, not that of the proxy.
#[tokio::test(flavor = "multi_thread")]
async fn connections_count_for_the_client_that_the_proxy_names() {
    let (_gateway, address) =
        behind_proxy("\"127.0.0.0/8\"", "max_connections_per_client = 1").await;
    let bytes = |client: &str| {
        let head = format!("PROXY TCP4 {client} 192.0.2.2 1 2\r\n");
        [head.as_bytes(), REQUEST].concat()
    };
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(&bytes("192.0.2.1")).await.unwrap();
    assert_eq!(read_next(&mut first, &mut Vec::new()).await.status, 200);
    let response = exchange(address, &bytes("192.0.2.1")).await;
    response.problem(503, "too_many_connections");
    assert_eq!(exchange(address, &bytes("192.0.2.3")).await.status, 200);
    drop(first);
    eventually("the place is free again", || async {
        let response = exchange(address, &bytes("192.0.2.1")).await;
        (response.status == 200).then_some(())
    })
    .await;
}

async fn with_header(client_header: &str, trusted: &str) -> Gateway {
    let settings = [
        upstream(&[serve(echo()).await]),
        route("all", "/*", ""),
        format!(
            "[server]\ntrusted_proxies = [{trusted}]\nclient_header = \"{client_header}\"\n\
             send_forwarded = true\n"
        ),
    ];
    Gateway::start(&settings.concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_header_of_trusted_proxies_is_read_and_all_are_rebuilt() {
    let forwarded = with_header("forwarded", "\"127.0.0.0/8\"").await;
    let x_forwarded = with_header("x-forwarded-for", "\"127.0.0.0/8\"").await;
    let trusting_none = with_header("forwarded", "").await;
    let fields = "Forwarded: for=1.1.1.1, for=\"[2001:db8::1]:99\";proto=https;host=\"a.test:8443\"\r\n\
                  X-Forwarded-For: 2.2.2.2\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: b.test\r\n\
                  X-Real-IP: 3.3.3.3\r\n";
    let request = format!("GET /a HTTP/1.1\r\nHost: c.test\r\n{fields}\r\n");
    for (gateway, client, proto, host) in [
        (&forwarded, "2001:db8::1", "https", "a.test:8443"),
        (&x_forwarded, "2.2.2.2", "http", "b.test"),
        (&trusting_none, "127.0.0.1", "http", "c.test"),
    ] {
        let echoed = echoed(gateway.public, request.as_bytes()).await;
        assert_eq!(header(&echoed, "x-forwarded-for"), [client]);
        assert_eq!(header(&echoed, "x-forwarded-proto"), [proto]);
        assert_eq!(header(&echoed, "x-forwarded-host"), [host]);
        let node = if client.contains(':') {
            format!("\"[{client}]\"")
        } else {
            client.to_owned()
        };
        let expected = format!("for={node};proto={proto};host=\"{host}\"");
        assert_eq!(header(&echoed, "forwarded"), [expected]);
        assert!(header(&echoed, "x-real-ip").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_name_the_caller_are_removed_in_every_spelling() {
    let settings = [
        upstream(&[serve(echo()).await]),
        route("all", "/*", "request_headers = { x-groups = \"fixed\" }"),
        "[server]\nallow_underscore_headers = true\n".to_owned(),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let names = [
        "X-User",
        "X-Email",
        "X-Groups",
        "x_user",
        "X_Email",
        "x-Groups",
        "X-User",
        "X-Auth-Request-User",
        "X-Auth-Request-Email",
        "X_Auth_Request_Groups",
        "X-Auth-Request-Access-Token",
        "X-Forwarded-User",
        "X-Forwarded-Email",
        "X-Preferred-Username",
        "X-Remote-User",
        "Remote-User",
        "Remote_Groups",
        "X-WebAuth-User",
        "X-Authenticated-User",
        "X-User-Id",
        "X_User_Id",
    ];
    let fields = format!("{}: eve\r\n", names.join(": eve\r\n"));
    let request = format!("GET /a HTTP/1.1\r\nHost: a\r\n{fields}X-Kept: eve\r\n\r\n");
    let echoed = echoed(gateway.public, request.as_bytes()).await;
    let pairs = echoed["headers"].as_array().unwrap().iter();
    let left: Vec<_> = pairs
        .filter(|pair| pair[1] == "eve")
        .map(|pair| &pair[0])
        .collect();
    assert_eq!(left, ["x-kept"]);
    assert_eq!(header(&echoed, "x-groups"), ["fixed"]);
}
