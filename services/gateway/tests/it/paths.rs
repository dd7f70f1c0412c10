//! Both paths side by side: what upstream and client see must be the same.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::{DEADLINE, Gateway, route, upstream};

/// Start line, fields with lower-case names in order of name, and decoded body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Message {
    start: String,
    fields: Vec<(String, String)>,
    body: String,
}

impl Message {
    /// The parts of a message that has been received to its end.
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, mut body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let start = lines.next().unwrap_or_default().to_owned();
        let mut fields: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        fields.sort();
        let mut decoded = String::new();
        if fields.iter().any(|(name, _)| name == "transfer-encoding") {
            while let Some((size, rest)) = body.split_once("\r\n") {
                let size = usize::from_str_radix(size, 16).unwrap_or(0);
                decoded.push_str(rest.get(..size).unwrap_or(rest));
                body = rest.get(size + 2..).unwrap_or_default();
            }
            body = &decoded;
        }
        let body = body.to_owned();
        Self {
            start,
            fields,
            body,
        }
    }

    fn value(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(other, _)| other == name);
        field.map(|(_, value)| value.as_str())
    }

    /// Without what differs from request to request.
    fn comparable(mut self) -> Self {
        self.fields.retain(|(name, _)| {
            !["date", "x-request-id", "traceparent", "ratelimit"].contains(&name.as_str())
        });
        // Persistence is the default of HTTP/1.1; naming it says nothing.
        self.fields
            .retain(|(name, value)| name != "connection" || value != "keep-alive");
        if let Some((problem, _)) = self.body.split_once("\"request_id\"") {
            self.body = problem.to_owned();
            self.fields.retain(|(name, _)| name != "content-length");
        }
        self
    }
}

/// An upstream that responds as scripted, and keeps what it received.
struct Script {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Message>>>,
}

impl Script {
    /// `responses`: for each path the bytes after which the connection is closed.
    async fn start(responses: BTreeMap<String, String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let (responses, seen) = (Arc::new(responses), Arc::clone(&received));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (responses, seen) = (Arc::clone(&responses), Arc::clone(&seen));
                tokio::spawn(async move { respond(stream, &responses, &seen).await });
            }
        });
        Self { address, received }
    }

    fn take(&self) -> Vec<Message> {
        std::mem::take(&mut self.received.lock().unwrap())
    }
}

async fn respond(
    mut stream: TcpStream,
    responses: &BTreeMap<String, String>,
    seen: &Mutex<Vec<Message>>,
) {
    let mut bytes = Vec::new();
    while !is_complete(&bytes) {
        match stream.read_buf(&mut bytes).await {
            Ok(1..) => {}
            _ => return,
        }
    }
    let request = Message::parse(&bytes);
    let path = request
        .start
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .to_owned();
    seen.lock().unwrap().push(request);
    let path = path.split('?').next().unwrap_or_default();
    if let Some(response) = responses.get(path) {
        let _ = stream.write_all(response.as_bytes()).await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut bytes).await;
    }
}

fn is_complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let head = head.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    match length.and_then(|length| length.parse::<usize>().ok()) {
        Some(length) => body.len() >= length,
        None => !head.contains("transfer-encoding: chunked") || body.ends_with("0\r\n\r\n"),
    }
}

/// One case: method and further header lines, body, and the response of the upstream.
type Case = (&'static str, &'static str, &'static str, String);

fn cases() -> Vec<Case> {
    let ok = || "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned();
    let mut cases: Vec<Case> = vec![
        ("GET", "", "", ok()),
        (
            "GET",
            "Accept: */*\r\nAccept: text/html\r\nCookie: a=b; c=d\r\n",
            "",
            ok(),
        ),
        (
            "HEAD",
            "",
            "",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n".to_owned(),
        ),
        ("OPTIONS", "Origin: http://a\r\n", "", ok()),
        ("PURGE", "", "", ok()),
        (
            "DELETE",
            "",
            "",
            "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        ),
        (
            "POST",
            "Content-Length: 5\r\nContent-Type: text/plain\r\n",
            "abcde",
            ok(),
        ),
        ("PUT", "Content-Length: 5\r\n", "abcde", ok()),
        ("PATCH", "Content-Length: 0\r\n", "", ok()),
        // Forged, of one connection, or unsafe.
        (
            "GET",
            "X-User-Id: eve\r\nx-quartet-role: eve\r\nX-Forwarded-For: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\n\
             X-Real-IP: 1.1.1.1\r\nx-request-id: eve\r\nTraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n",
            "",
            ok(),
        ),
        (
            "GET",
            "Keep-Alive: 1\r\nProxy-Connection: close\r\nTE: trailers\r\nTrailer: x\r\nProxy-Authorization: a\r\n\
             Proxy: http://a\r\nX_User_Id: eve\r\nX_Other: 1\r\nHTTP2-Settings: x\r\n",
            "",
            ok(),
        ),
        (
            "GET",
            "Empty:\r\nSpaces:   a  b  \r\nHigh: \u{e9}\r\n",
            "",
            ok(),
        ),
    ];
    for response in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\no\r\n1\r\nk\r\n000\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nok",
        "HTTP/1.0 200 OK\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
        "HTTP/1.1 404 Not Here\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: /b\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: a\r\n\
         Trailer: x\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nx-request-id: forged\r\ntraceparent: forged\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nRateLimit: forged\r\nratelimit-policy: forged\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        // No response, or a part of one.
        "",
        "HTTP/1.1 200 OK\r\nContent-",
        "nonsense\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ] {
        cases.push(("POST", "Content-Length: 1\r\n", "x", response.to_owned()));
    }
    let large = "y".repeat(100_000);
    let length = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{large}",
        large.len()
    );
    let chunk = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n{large}\r\n0\r\n\r\n"
    );
    cases.extend([("GET", "", "", length), ("GET", "", "", chunk)]);
    cases
}

/// The response with `Connection: close` in its final head: a connection that ends unannounced may
/// still be used for the next case.
fn closing(response: &str) -> String {
    let is_final = |(at, _): &(usize, &str)| {
        let code = response.as_bytes().get(at + "HTTP/1.1 ".len());
        code.is_some_and(|code| *code != b'1')
    };
    let Some((start, _)) = response.match_indices("HTTP/1.").find(is_final) else {
        return response.to_owned();
    };
    let Some(end) = response[start..].find("\r\n") else {
        return response.to_owned();
    };
    let (line, rest) = response.split_at(start + end);
    format!("{line}\r\nConnection: close{rest}")
}

fn settings(address: SocketAddr) -> String {
    [
        upstream(&[address]),
        "retries = 0\nmin_eject_ms = 1\nmax_eject_ms = 1\n".to_owned(),
        "[limits.many]\nrequests = 1000000\nwindow_seconds = 60\n".to_owned(),
        route("all", "/*", "limit = \"many\"\nbody_limit_bytes = 1000"),
    ]
    .concat()
}

async fn gateway(address: SocketAddr, direct: bool) -> Gateway {
    let direct = direct.to_string();
    Gateway::with_variables(
        &settings(address),
        &[("QUARTET_SERVER_DIRECT_PATH", &direct)],
    )
    .await
}

/// Everything that the client receives until the connection ends.
async fn send(gateway: &Gateway, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(gateway.public).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let read = timeout(DEADLINE, stream.read_to_end(&mut received)).await;
    read.expect("the connection is closed").unwrap();
    received
}

async fn taken_directly(gateway: &Gateway) -> usize {
    let name = "gateway_direct_requests_total{service=\"gateway\"}";
    let count = gateway.metric(name).await;
    count.to_string().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn upstream_and_client_see_the_same_on_both_paths() {
    let cases = cases();
    let paths = |number: usize| format!("/{number}");
    let scripted = cases.iter().enumerate();
    let responses = scripted.map(|(number, case)| (paths(number), closing(&case.3)));
    let script = Script::start(responses.collect()).await;
    let (general, direct) = (
        gateway(script.address, false).await,
        gateway(script.address, true).await,
    );
    let mut different = Vec::new();
    for (number, (method, fields, body, response)) in cases.iter().enumerate() {
        let request = format!(
            "{method} {}?a=b%20c HTTP/1.1\r\nHost: a.example\r\n{fields}Connection: close\r\n\r\n{body}",
            paths(number)
        );
        let mut seen = Vec::new();
        for gateway in [&general, &direct] {
            let received = send(gateway, &request).await;
            let text = String::from_utf8_lossy(&received).into_owned();
            // Interim responses, then the final one.
            let mut rest = text.as_str();
            let mut responses = Vec::new();
            while let Some((head, after)) = rest.split_once("\r\n\r\n")
                && head.starts_with("HTTP/1.1 1")
            {
                responses.push(Message::parse(head.as_bytes()).comparable());
                rest = after;
            }
            responses.push(Message::parse(rest.as_bytes()).comparable());
            let requests = script.take().into_iter().map(Message::comparable);
            seen.push((responses, requests.collect::<Vec<_>>()));
        }
        if seen[0] != seen[1] {
            different.push(format!(
                "{request:?}\n  upstream: {:?}\n  general: {:?}\n  direct:  {:?}",
                response.get(..200).unwrap_or(response),
                shortened(&seen[0]),
                shortened(&seen[1])
            ));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert_eq!(taken_directly(&general).await, 0);
    assert_eq!(taken_directly(&direct).await, cases.len());
}

fn shortened(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}").chars().take(1500).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn doubtful_responses_are_502_on_the_direct_path_and_their_connection_is_closed() {
    let doubtful = [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\na",
        "HTTP/1.1 200 OK\nContent-Length: 1\n\na",
        "HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 1\r\n\r\na",
        "HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
    ];
    let numbered = doubtful.iter().enumerate();
    let responses = numbered.map(|(number, text)| (format!("/{number}"), (*text).to_owned()));
    let script = Script::start(responses.collect()).await;
    let gateway = gateway(script.address, true).await;
    for (number, response) in doubtful.iter().enumerate() {
        let request = format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        let received = Message::parse(&send(&gateway, &request).await);
        assert_eq!(received.start, "HTTP/1.1 502 Bad Gateway", "{response:?}");
        assert_eq!(received.value("connection"), Some("close"), "{response:?}");
    }
    assert_eq!(taken_directly(&gateway).await, doubtful.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn rare_requests_take_the_general_path() {
    let ok = closing("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let script = Script::start([("/a".to_owned(), ok)].into()).await;
    let gateway = gateway(script.address, true).await;
    for request in [
        "GET /a HTTP/1.0\r\nHost: a\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close, x-a\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: close\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\na\r\n0\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\nConnection: close\r\n\r\na",
    ] {
        let received = String::from_utf8(send(&gateway, request).await).unwrap();
        assert!(
            received.contains(" 200 OK\r\n") && received.contains("ok"),
            "{request:?}: {received}"
        );
    }
    assert_eq!(taken_directly(&gateway).await, 0);
    // Both paths on one connection, in any order.
    let mixed = [
        // The absolute form is written again as a path.
        "GET http://A/a HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ];
    let received = String::from_utf8(send(&gateway, &mixed.concat()).await).unwrap();
    assert_eq!(received.matches("HTTP/1.1 200 OK").count(), 4, "{received}");
    assert_eq!(taken_directly(&gateway).await, 3);
    assert_eq!(script.take().len(), 9);
}
