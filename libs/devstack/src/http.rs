//! A blocking HTTP GET, enough to probe whether a service is ready.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const BODY_LIMIT_BYTES: u64 = 1024 * 1024;

/// A response to [`get`].
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// At most 1 MiB.
    pub body: String,
}

/// Fetches `path` from a plain HTTP server. `timeout` bounds connecting and each read.
pub fn get(address: SocketAddr, path: &str, timeout: Duration) -> io::Result<Response> {
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    // HTTP/1.0, so that the body is never chunked and the server closes.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    // In one piece: a simple server may respond after its first read.
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(BODY_LIMIT_BYTES).read_to_end(&mut bytes)?;
    parse(&String::from_utf8_lossy(&bytes))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the response is not HTTP"))
}

fn parse(text: &str) -> Option<Response> {
    let code = text
        .strip_prefix("HTTP/1.")?
        .split_ascii_whitespace()
        .nth(1)?;
    let body = text.split_once("\r\n\r\n").unwrap_or_default().1.to_owned();
    let status = code.parse().ok()?;
    Some(Response { status, body })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_status_and_body() {
        let response = parse("HTTP/1.1 503 Service Unavailable\r\nA: b\r\n\r\nnot yet").unwrap();
        assert_eq!((response.status, response.body.as_str()), (503, "not yet"));
    }

    #[test]
    fn refuses_other_protocols() {
        assert!(parse("SSH-2.0-OpenSSH\r\n").is_none());
        assert!(parse("").is_none());
    }
}
