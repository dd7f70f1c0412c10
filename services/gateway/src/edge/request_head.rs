//! Reads an HTTP/1 request head within its limits, before pingora's parser sees it.
//!
//! pingora's parser accepts a mebibyte, waits a minute for every read, accepts bare line feeds, and
//! answers invalid input without a body. A strict parser in front of it gives three guarantees:
//!
//! 1. **Unambiguous framing.** What two servers could read differently is refused: `Content-Length`
//!    with `Transfer-Encoding`, or either of them twice; codings other than `chunked`; bare line
//!    feeds; folded headers; space before a colon; a missing or second `Host`. Otherwise an upstream
//!    could see two requests where the gateway authorized one (request smuggling).
//! 2. **Bounded in time.** The deadline covers the whole head, not each read: a client that sends a
//!    byte every few seconds cannot hold a connection.
//! 3. **Bounded in size**, by bytes and by headers, before anything is parsed.
//!
//! [`Scan`] looks at every byte once, however the head is split over reads. When it has found the
//! end, [`check`] parses the head and the bytes are handed to pingora unchanged.

use std::{mem::MaybeUninit, time::Duration};

use bytes::{Buf, BytesMut};
use http::Method;
use pingora::{protocols::Stream, server::ShutdownWatch};
use quartet_common::problem::Problem;
use tokio::{
    io::AsyncReadExt,
    time::{Instant, timeout_at},
};

use crate::error;

const FIRST_READ_BYTES: usize = 4096;
/// pingora has no room for more.
const MOST_HEADERS: usize = 256;
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// Bounds of a request head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) bytes: usize,
    pub(super) count: usize,
    /// From the first byte to the last.
    pub(super) timeout: Duration,
    /// Until the first byte.
    pub(super) idle_timeout: Duration,
}

/// The result of reading from a connection.
pub(super) enum Head {
    /// A valid head, and what followed it in the same read.
    Complete(BytesMut),
    /// The client speaks HTTP/2; these are its first bytes.
    Http2(BytesMut),
    /// The client disconnected, or the connection was idle for too long.
    Closed,
    Rejected(Box<RejectedHead>),
}

/// A head that gets a problem in response, and as much of it as could be read.
pub(super) struct RejectedHead {
    pub(super) problem: Problem,
    pub(super) method: Option<Method>,
    pub(super) path: Option<String>,
}

pub(super) async fn read(
    stream: &mut Stream,
    limits: Limits,
    shutdown: &mut ShutdownWatch,
) -> Head {
    let mut buffer = BytesMut::with_capacity(FIRST_READ_BYTES);
    let idle_until = Instant::now() + limits.idle_timeout;
    let first = tokio::select! {
        biased;
        first = timeout_at(idle_until, stream.read_buf(&mut buffer)) => first,
        // No request has started, so none is lost.
        _ = shutdown.wait_for(|&begun| begun) => return Head::Closed,
    };
    if !matches!(first, Ok(Ok(1..))) {
        return Head::Closed;
    }
    let deadline = Instant::now() + limits.timeout;
    let mut scan = Scan::default();
    loop {
        match scan.advance(&mut buffer, limits) {
            Ok(Some(end)) => return complete(buffer, end, limits),
            Ok(None) => {}
            Err(problem) => return rejected(problem, &buffer),
        }
        match timeout_at(deadline, stream.read_buf(&mut buffer)).await {
            Ok(Ok(1..)) => {}
            Ok(_) => return Head::Closed,
            Err(_) => {
                let problem = error::request_timeout("the request head did not arrive in time");
                return rejected(problem, &buffer);
            }
        }
    }
}

fn rejected(problem: Problem, buffer: &[u8]) -> Head {
    let (method, path) = request_line(buffer);
    Head::Rejected(Box::new(RejectedHead {
        problem,
        method,
        path,
    }))
}

/// Finds the end of the head, looking at each byte once.
#[derive(Default)]
struct Scan {
    at: usize,
    line_start: usize,
    lines: usize,
}

impl Scan {
    /// The length of the head, once it is complete.
    fn advance(&mut self, buffer: &mut BytesMut, limits: Limits) -> Result<Option<usize>, Problem> {
        let too_large = || error::headers_too_large(limits.bytes, limits.count);
        while let Some(found) = memchr::memchr(b'\n', &buffer[self.at..]) {
            let newline = self.at + found;
            if newline == 0 || buffer[newline - 1] != b'\r' {
                return Err(error::malformed("lines must end with CR LF"));
            }
            let empty = newline - 1 == self.line_start;
            if empty && self.lines == 0 {
                // Empty lines before a request are ignored (RFC 9112, 2.2).
                buffer.advance(2);
                *self = Self::default();
                continue;
            }
            self.at = newline + 1;
            if self.at > limits.bytes {
                return Err(too_large());
            }
            if empty {
                return Ok(Some(self.at));
            }
            self.line_start = self.at;
            self.lines += 1;
            // The first line is the request line.
            if self.lines > limits.count + 1 {
                return Err(too_large());
            }
        }
        self.at = buffer.len();
        if buffer.len() > limits.bytes {
            Err(too_large())
        } else {
            Ok(None)
        }
    }
}

fn complete(buffer: BytesMut, end: usize, limits: Limits) -> Head {
    let head = &buffer[..end];
    if head == HTTP2_PREFACE {
        return Head::Http2(buffer);
    }
    match check(head, limits) {
        Ok(()) => Head::Complete(buffer),
        Err(problem) => rejected(problem, head),
    }
}

/// Refuses a head that two servers might read differently (RFC 9112, 6 and 3.2).
fn check(head: &[u8], limits: Limits) -> Result<(), Problem> {
    let mut headers = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut headers) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => {
            return Err(error::headers_too_large(limits.bytes, limits.count));
        }
        Ok(httparse::Status::Partial) | Err(_) => {
            return Err(error::malformed("the request head cannot be parsed"));
        }
    }
    if request.method == Some("CONNECT") {
        return Err(error::method_not_allowed(&[]));
    }
    let (mut lengths, mut codings, mut hosts) = (0, 0, 0);
    for header in request.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        match header.name.len() {
            14 if is("content-length") => {
                lengths += 1;
                if header.value.is_empty() || !header.value.iter().all(u8::is_ascii_digit) {
                    return Err(error::malformed("Content-Length must be a whole number"));
                }
            }
            17 if is("transfer-encoding") => {
                codings += 1;
                if !header.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(error::malformed("Transfer-Encoding must be chunked"));
                }
            }
            4 if is("host") => {
                hosts += 1;
                if !header.value.iter().all(|&byte| is_authority(byte)) {
                    return Err(error::malformed(
                        "Host must be a host with an optional port",
                    ));
                }
            }
            _ => {}
        }
    }
    let is_http_1_0 = request.version == Some(0);
    match (lengths, codings, hosts) {
        (1.., 1.., _) => Err(error::malformed(
            "Content-Length and Transfer-Encoding cannot be combined",
        )),
        (2.., ..) => Err(error::malformed("there must be at most one Content-Length")),
        (_, 2.., _) => Err(error::malformed(
            "there must be at most one Transfer-Encoding",
        )),
        (_, 1, _) if is_http_1_0 => Err(error::malformed(
            "HTTP/1.0 does not support Transfer-Encoding",
        )),
        (_, _, 0) if !is_http_1_0 => Err(error::malformed("the Host header is missing")),
        (_, _, 2..) => Err(error::malformed("there must be exactly one Host header")),
        _ => Ok(()),
    }
}

fn is_authority(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+;=".contains(&byte)
}

/// Method and path of a head that may be invalid, for the log.
fn request_line(head: &[u8]) -> (Option<Method>, Option<String>) {
    let line = head
        .split(|&byte| byte == b'\r' || byte == b'\n')
        .next()
        .unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ');
    let method = words.next().and_then(|word| Method::from_bytes(word).ok());
    let path = words
        .next()
        .filter(|word| word.starts_with(b"/"))
        .map(|word| {
            let path = word.split(|&byte| byte == b'?').next().unwrap_or_default();
            String::from_utf8_lossy(&path[..path.len().min(1024)]).into_owned()
        });
    (method, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        bytes: 2048,
        count: 5,
        timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(1),
    };

    /// Feeds the text byte by byte, like a slow client.
    fn outcome(text: &str) -> String {
        let mut buffer = BytesMut::new();
        let mut scan = Scan::default();
        for byte in text.bytes() {
            buffer.extend_from_slice(&[byte]);
            match scan.advance(&mut buffer, LIMITS) {
                Ok(None) => {}
                Ok(Some(end)) => {
                    return match complete(buffer, end, LIMITS) {
                        Head::Complete(_) => "ok".to_owned(),
                        Head::Http2(_) => "h2".to_owned(),
                        Head::Rejected(rejected) => rejected.problem.kind.code.to_owned(),
                        Head::Closed => "closed".to_owned(),
                    };
                }
                Err(problem) => return problem.kind.code.to_owned(),
            }
        }
        "partial".to_owned()
    }

    #[test]
    fn valid_heads_are_complete_and_others_rejected() {
        let cases = [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "ok"),
            ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "ok"),
            ("GET / HTTP/1.0\r\n\r\n", "ok"),
            ("PRI * HTTP/2.0\r\n\r\n", "h2"),
            ("GET / HTTP/1.1\r\nHost: a\r\n", "partial"),
            ("GET / HTTP/1.1\nHost: a\n\n", "malformed_request"),
            ("GET / HTTP/1.1\r\n\r\n", "malformed_request"),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                "malformed_request",
            ),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "malformed_request"),
            ("GET / HTTP/3\r\nHost: a\r\n\r\n", "malformed_request"),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "malformed_request"),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n",
                "malformed_request",
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
                "malformed_request",
            ),
            (
                "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
                "method_not_allowed",
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                "malformed_request",
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
                "malformed_request",
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
                "malformed_request",
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                "malformed_request",
            ),
            (
                "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
                "malformed_request",
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\na: 1\r\nb: 1\r\nc: 1\r\nd: 1\r\ne: 1\r\n\r\n",
                "headers_too_large",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(outcome(text), expected, "{text:?}");
        }
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}", "y".repeat(2048));
        assert_eq!(outcome(&long), "headers_too_large");
    }

    #[test]
    fn invalid_heads_are_logged_with_method_and_path() {
        assert_eq!(
            request_line(b"GET /a?b=c HTTP/9"),
            (Some(Method::GET), Some("/a".to_owned()))
        );
        assert_eq!(request_line(b"\x16\x03\x01"), (None, None));
    }
}
