//! Raw HTTP, for requests that HTTP clients do not send.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(20);

/// A response as received.
#[derive(Clone, Debug)]
pub(crate) struct RawResponse {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl RawResponse {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Checks that it is a problem with this status; returns the body.
    pub(crate) fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let start = self
            .body
            .find('{')
            .unwrap_or_else(|| panic!("no body: {self:?}"));
        let end = self
            .body
            .rfind('}')
            .unwrap_or_else(|| panic!("no body: {self:?}"));
        let body: Value = serde_json::from_str(&self.body[start..=end]).unwrap();
        assert_eq!(body["status"], status, "{self:?}");
        assert!(
            body["code"].as_str().is_some_and(|code| !code.is_empty()),
            "{self:?}"
        );
        assert_eq!(
            body["request_id"].as_str(),
            self.header("x-request-id"),
            "{self:?}"
        );
        body
    }
}

/// Opens a connection.
pub(crate) async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends the bytes and reads until the response is complete or the server closes.
pub(crate) async fn exchange(address: SocketAddr, request: impl AsRef<[u8]>) -> RawResponse {
    let mut stream = connect(address).await;
    // A server that refuses early may stop reading: only its response matters.
    let _ = stream.write_all(request.as_ref()).await;
    read(&mut stream).await
}

/// Reads one response.
pub(crate) async fn read(stream: &mut TcpStream) -> RawResponse {
    let mut bytes = Vec::new();
    let reading = async {
        let mut chunk = vec![0_u8; 16 * 1024];
        while !is_complete(&bytes) {
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => break,
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            }
        }
    };
    let finished = tokio::time::timeout(PATIENCE, reading).await.is_ok();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(
        finished,
        "no complete response within {PATIENCE:?}, only: {text:?}"
    );
    parse(&text).unwrap_or_else(|| panic!("not an HTTP response: {text:?}"))
}

fn parse(text: &str) -> Option<RawResponse> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head
        .strip_prefix("HTTP/1.")?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()?;
    Some(RawResponse {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

fn is_complete(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some(answer) = parse(&text) else {
        return false;
    };
    match answer.header("content-length").map(str::parse::<usize>) {
        Some(Ok(length)) => answer.body.len() >= length,
        _ => answer.body.ends_with("0\r\n\r\n") || matches!(answer.status, 204 | 304),
    }
}

/// A request with a JSON body.
pub(crate) fn post_json(path: &str, token: Option<&str>, body: &Value) -> String {
    let body = body.to_string();
    let token = token
        .map(|token| format!("authorization: Bearer {token}\r\n"))
        .unwrap_or_default();
    format!(
        "POST {path} HTTP/1.1\r\nhost: gateway\r\n{token}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}
