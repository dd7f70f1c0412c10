//! An HTTP/1.1 client: single requests that prepare and check a benchmark, and the load.
//!
//! The load is a closed loop: each connection sends its next request when the response to the last
//! one has arrived, so that a slow response delays the requests after it. At the end of a round the
//! last responses are awaited; every request that was sent is counted.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use quartet_devstack::signals;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use crate::bench::Bench;
use crate::rounds::Round;
use crate::tls::{self, Client, Handshake};
use crate::usage::Usage;

/// A browser: links distinguishes people from bots by this.
const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";
const TIMEOUT: Duration = Duration::from_secs(30);
const MOST_HEADERS: usize = 64;

/// A request to a port of this machine, ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Request(String);

/// Shared by all connections.
pub(crate) type Requests = Arc<[Request]>;

#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// With names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn get(path: &str, token: Option<&str>) -> Self {
        Self::new("GET", path, token, None)
    }

    pub(crate) fn post(path: &str, token: Option<&str>, body: &Value) -> Self {
        Self::new("POST", path, token, Some(&body.to_string()))
    }

    /// Of a browser with a session.
    pub(crate) fn get_with_cookie(path: &str, cookie: &str) -> Self {
        Self(format!(
            "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: {USER_AGENT}\r\ncookie: {cookie}\r\n\r\n"
        ))
    }

    /// A POST of the page itself.
    pub(crate) fn post_from_page(path: &str, body: &Value) -> Self {
        let Self(text) = Self::post(path, None, body);
        Self(text.replacen("host:", "sec-fetch-site: same-origin\r\nhost:", 1))
    }

    /// From a client that takes gzip.
    pub(crate) fn get_gzip(path: &str) -> Self {
        Self(format!(
            "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: {USER_AGENT}\r\n\
             accept-encoding: gzip\r\n\r\n"
        ))
    }

    /// A handshake. The key of RFC 6455.
    pub(crate) fn websocket(path: &str) -> Self {
        Self(format!(
            "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ))
    }

    fn new(method: &str, path: &str, token: Option<&str>, body: Option<&str>) -> Self {
        let token = token.map(|token| format!("authorization: Bearer {token}\r\n"));
        let content = body.map(|body| {
            let length = body.len();
            format!("content-type: application/json\r\ncontent-length: {length}\r\n")
        });
        Self(format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: {USER_AGENT}\r\n{}{}\r\n{}",
            token.unwrap_or_default(),
            content.unwrap_or_default(),
            body.unwrap_or_default()
        ))
    }

    /// Sends it once; the head of the response, whatever its body is.
    pub(crate) fn head(&self, port: u16) -> anyhow::Result<String> {
        runtime()?.block_on(async {
            let mut connection = Connection::open(port).await?;
            let (_, head) = connection.measure(self).await?;
            let head = String::from_utf8_lossy(&connection.buffer[..head.length]);
            Ok(head.to_ascii_lowercase())
        })
    }

    /// Sends it once and fails unless the response has this status.
    pub(crate) fn expect(&self, port: u16, status: u16) -> anyhow::Result<Response> {
        let line = self.0.lines().next().unwrap_or_default();
        let what = || format!("{line} on port {port}");
        let response = runtime()?.block_on(async {
            let mut connection = Connection::open(port).await?;
            connection.send(self).await
        });
        let response = response.with_context(what)?;
        ensure!(
            response.status == status,
            "{} returned {} and not {status}: {}",
            what(),
            response.status,
            response.body
        );
        Ok(response)
    }
}

impl Response {
    pub(crate) fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("not JSON: {}", self.body))
    }

    pub(crate) fn has_header(&self, name: &str) -> bool {
        self.header(name).is_some()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(known, _)| known == name)?;
        Some(value)
    }
}

/// Requests that some connections send over and over.
pub(crate) enum Load {
    /// All connections take the requests in turn.
    Cycle(Requests, usize),
    /// The same over TLS.
    Secure(Requests, usize),
    /// A connection for each request, as many at a time, each of which begins with such a handshake.
    Handshakes(Request, usize, Handshake),
    /// Each connection exchanges its refresh token for the next one.
    Refresh(&'static str, Vec<String>),
}

/// What the connections of one load share.
pub(crate) struct Shared {
    pub(crate) port: u16,
    next: AtomicUsize,
    deadline: Instant,
}

impl Load {
    /// Sends requests for some seconds and measures the responses and what the process group of the
    /// server used for them.
    ///
    /// # Errors
    /// If a single request fails: such a round measures nothing.
    pub(crate) fn run(
        &self,
        bench: &Bench,
        port: u16,
        server: u32,
        seconds: u32,
    ) -> anyhow::Result<Round> {
        let before = Usage::of_group(server)?;
        let begin = Instant::now();
        let shared = Shared::new(port, Duration::from_secs(seconds.into()));
        let micros = runtime()?.block_on(self.send(&shared))?;
        let elapsed = begin.elapsed().as_secs_f64();
        let after = Usage::of_group(server)?;
        bench.require_running()?;
        ensure!(!micros.is_empty(), "no request got a response");
        let requests = u64::try_from(micros.len())?;
        let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
        let round = Round {
            cpu_micros: cpu * 1e6 / count(requests),
            busy: cpu / elapsed,
            resident_mb: after.resident_mb,
            ..Round::of_rate(requests, count(requests) / elapsed)
        };
        Ok(round.with_times(micros))
    }

    /// Returns the microseconds that each request took.
    async fn send(&self, shared: &Arc<Shared>) -> anyhow::Result<Vec<u32>> {
        let mut connections = JoinSet::new();
        match self {
            Self::Cycle(requests, count) => {
                for _ in 0..*count {
                    connections.spawn(cycle(Arc::clone(shared), Arc::clone(requests)));
                }
            }
            Self::Secure(requests, count) => {
                let client = Client::new(Handshake::Full)?;
                for _ in 0..*count {
                    let connection = Connection::over(client.open(shared.port).await?);
                    connections.spawn(repeat(Arc::clone(shared), Arc::clone(requests), connection));
                }
            }
            Self::Handshakes(request, count, handshake) => {
                for _ in 0..*count {
                    connections.spawn(shake_hands(Arc::clone(shared), request.clone(), *handshake));
                }
            }
            Self::Refresh(path, tokens) => {
                for token in tokens {
                    connections.spawn(refresh(Arc::clone(shared), path, token.clone()));
                }
            }
        }
        let mut micros = Vec::new();
        while let Some(connection) = connections.join_next().await {
            micros.extend(connection??);
        }
        Ok(micros)
    }
}

impl Shared {
    pub(crate) fn new(port: u16, length: Duration) -> Arc<Self> {
        Arc::new(Self {
            port,
            next: AtomicUsize::new(0),
            deadline: Instant::now() + length,
        })
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.deadline || signals::received()
    }
}

async fn cycle(shared: Arc<Shared>, requests: Requests) -> anyhow::Result<Vec<u32>> {
    let connection = Connection::open(shared.port).await?;
    repeat(shared, requests, connection).await
}

async fn repeat(
    shared: Arc<Shared>,
    requests: Requests,
    mut connection: Connection,
) -> anyhow::Result<Vec<u32>> {
    let mut micros = Vec::new();
    while !shared.is_over() {
        let number = shared.next.fetch_add(1, Ordering::Relaxed) % requests.len();
        micros.push(connection.measure(&requests[number]).await?.0);
    }
    Ok(micros)
}

/// Returns the times from the connection to the end of its response.
async fn shake_hands(
    shared: Arc<Shared>,
    request: Request,
    handshake: Handshake,
) -> anyhow::Result<Vec<u32>> {
    let client = Client::new(handshake)?;
    // Has no ticket yet, and gets some.
    let mut first = Connection::over(client.open(shared.port).await?);
    first.measure(&request).await?;
    let mut micros = Vec::new();
    while !shared.is_over() {
        let begin = Instant::now();
        let stream = client.open(shared.port).await?;
        tls::expect(&stream, handshake)?;
        Connection::over(stream).measure(&request).await?;
        micros.push(u32::try_from(begin.elapsed().as_micros())?);
    }
    Ok(micros)
}

async fn refresh(
    shared: Arc<Shared>,
    path: &'static str,
    mut token: String,
) -> anyhow::Result<Vec<u32>> {
    let mut connection = Connection::open(shared.port).await?;
    let mut micros = Vec::new();
    while !shared.is_over() {
        let body = serde_json::json!({ "refresh_token": token });
        let request = Request::post(path, None, &body);
        let (took, head) = connection.measure(&request).await?;
        micros.push(took);
        let response = connection.response(head)?.json()?;
        let next = response["refresh_token"].as_str();
        next.context("a response without a refresh token")?
            .clone_into(&mut token);
    }
    Ok(micros)
}

/// A connection, and the last response on it.
pub(crate) struct Connection {
    stream: Either<TcpStream, Box<TlsStream<TcpStream>>>,
    buffer: Vec<u8>,
}

impl Connection {
    fn new(stream: Either<TcpStream, Box<TlsStream<TcpStream>>>) -> Self {
        let buffer = Vec::with_capacity(16 * 1024);
        Self { stream, buffer }
    }

    fn over(stream: TlsStream<TcpStream>) -> Self {
        Self::new(Either::Right(Box::new(stream)))
    }

    pub(crate) async fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self::new(Either::Left(stream)))
    }

    /// A connection on which a request was answered.
    pub(crate) async fn used(port: u16, request: &Request) -> anyhow::Result<Self> {
        let mut connection = Self::open(port).await?;
        connection.measure(request).await?;
        Ok(connection)
    }

    /// Sends a request and returns its response, whatever its status.
    pub(crate) async fn send(&mut self, request: &Request) -> anyhow::Result<Response> {
        let head = self.exchange(request).await?;
        self.response(head)
    }

    /// Sends a request; returns the microseconds until its response, which must not be an error.
    pub(crate) async fn measure(&mut self, request: &Request) -> anyhow::Result<(u32, Head)> {
        let begin = Instant::now();
        let head = self.exchange(request).await?;
        let took = begin.elapsed().as_micros();
        let text = || String::from_utf8_lossy(&self.buffer);
        ensure!(head.status < 400, "a request failed: {}", text());
        Ok((u32::try_from(took)?, head))
    }

    async fn exchange(&mut self, request: &Request) -> anyhow::Result<Head> {
        self.buffer.clear();
        self.stream.write_all(request.0.as_bytes()).await?;
        loop {
            let read = self.stream.read_buf(&mut self.buffer);
            let read = tokio::time::timeout(TIMEOUT, read).await;
            let read = read.context("no response within 30 s")??;
            ensure!(read > 0, "the connection was closed before the response");
            if let Some(head) = Head::of_complete(&self.buffer)? {
                return Ok(head);
            }
        }
    }

    /// The last response.
    fn response(&self, head: Head) -> anyhow::Result<Response> {
        let text = std::str::from_utf8(&self.buffer).context("the response is not text")?;
        let (head_text, body) = text.split_at(head.length);
        let headers = head_text.lines().filter_map(|line| line.split_once(':'));
        Ok(Response {
            status: head.status,
            headers: headers
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect(),
            body: body.to_owned(),
        })
    }
}

/// What the client needs to know about a response to read it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Head {
    status: u16,
    length: usize,
}

impl Head {
    /// The head of a response, if all of the response has arrived.
    fn of_complete(bytes: &[u8]) -> anyhow::Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = response.parse(bytes)? else {
            return Ok(None);
        };
        let (mut body, mut chunked) = (0, false);
        for header in &*response.headers {
            if header.name.eq_ignore_ascii_case("content-length") {
                body = std::str::from_utf8(header.value)?.parse()?;
            }
            chunked |= header.name.eq_ignore_ascii_case("transfer-encoding");
        }
        let status = response.code.context("a response without a status")?;
        // Requests are not sent before their responses: the last chunk is the last that is received.
        let complete = if chunked {
            bytes.ends_with(b"\r\n0\r\n\r\n")
        } else {
            bytes.len() >= length + body
        };
        Ok(complete.then_some(Self { status, length }))
    }
}

/// One thread: the load must not take more than its share of the cores.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().context("start a runtime")
}

/// Exact for every count that a benchmark can reach.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub(crate) fn count(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::{Head, Request};

    #[test]
    fn a_head_says_how_to_read_the_body() {
        let parse = |text: &str| Head::of_complete(text.as_bytes()).unwrap();
        assert_eq!(parse("HTTP/1.1 200 OK\r\nContent-Le"), None);
        let text = "HTTP/1.1 201 Made\r\nContent-Length: 3\r\n\r\nok\n";
        assert_eq!(parse(&text[..text.len() - 1]), None);
        let expected = Head {
            status: 201,
            length: 40,
        };
        assert_eq!(parse(text), Some(expected));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
        assert_eq!(parse(&chunked[..chunked.len() - 1]), None);
        assert!(parse(chunked).is_some());
        assert!(Head::of_complete(b"SSH-2.0-OpenSSH\r\n").is_err());
    }

    #[test]
    fn a_body_comes_with_its_length_and_type() {
        let body = serde_json::json!({"a": "b"});
        let text = Request::post("/x", Some("t"), &body).0;
        assert!(text.contains("\r\nauthorization: Bearer t\r\n"), "{text}");
        assert!(
            text.ends_with("content-length: 9\r\n\r\n{\"a\":\"b\"}"),
            "{text}"
        );
    }
}
