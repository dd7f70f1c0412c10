//! HTTP as bytes, for requests that no client library would send.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::DEADLINE;

#[derive(Clone, Debug)]
pub(crate) struct RawResponse {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl RawResponse {
    pub(crate) fn problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.head.contains("application/problem+json"), "{self:?}");
        let body: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(body["code"], code, "{self:?}");
        let id = format!("x-request-id: {}", body["request_id"].as_str().unwrap());
        assert!(self.head.contains(&id), "{self:?}");
        assert!(self.head.contains("traceparent: 00-"), "{self:?}");
        let head = self.head.to_ascii_lowercase();
        assert_eq!(head.matches("\r\ndate: ").count(), 1, "{self:?}");
    }
}

/// Sends the bytes and reads one response.
pub(crate) async fn exchange(address: SocketAddr, request: &[u8]) -> RawResponse {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    read_response(&mut stream).await
}

pub(crate) async fn read_response(stream: &mut TcpStream) -> RawResponse {
    let mut rest = Vec::new();
    let response = read_next(stream, &mut rest).await;
    assert!(rest.is_empty(), "more than one response: {response:?}");
    response
}

/// Reads the next response; `rest` keeps what was received after it.
pub(crate) async fn read_next<S>(stream: &mut S, rest: &mut Vec<u8>) -> RawResponse
where
    S: AsyncRead + Unpin,
{
    timeout(DEADLINE, read(stream, rest))
        .await
        .expect("a response in time")
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S, bytes: &mut Vec<u8>) -> RawResponse {
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        assert!(
            stream.read_buf(bytes).await.unwrap() > 0,
            "closed without a response"
        );
    };
    let head = String::from_utf8(bytes[..head_end].to_vec())
        .unwrap()
        .to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    while bytes.len() < head_end + length {
        assert!(
            stream.read_buf(bytes).await.unwrap() > 0,
            "incomplete response: {head}"
        );
    }
    let body = String::from_utf8(bytes[head_end..head_end + length].to_vec()).unwrap();
    bytes.drain(..head_end + length);
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    RawResponse { status, head, body }
}
