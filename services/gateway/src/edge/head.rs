//! Reads a request head within its limits, before the proxy's own parser sees it.
//!
//! The parser below takes up to a mebibyte, waits a minute for each read, accepts bare
//! line feeds, and answers mistakes without a body. Here the whole head must arrive in
//! time, be small enough and be readable in one way only.

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
/// The parser below has no room for more.
const MOST_HEADERS: usize = 256;
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// How large and how slow a head may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) bytes: usize,
    pub(super) count: usize,
    /// From the first byte on.
    pub(super) time: Duration,
    /// Until the first byte.
    pub(super) idle: Duration,
}

/// What came over the connection.
pub(super) enum Head {
    /// A whole head, and what came with it.
    Complete(BytesMut),
    /// The client speaks HTTP/2; these are its first bytes.
    Http2(BytesMut),
    /// Nothing to answer: the client left, or the connection was idle for too long.
    Closed,
    Refused(Box<Refusal>),
}

/// A head that is answered without going further.
pub(super) struct Refusal {
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
    let idle_until = Instant::now() + limits.idle;
    let first = tokio::select! {
        biased;
        first = timeout_at(idle_until, stream.read_buf(&mut buffer)) => first,
        // Nothing has been asked yet, so nothing is lost.
        _ = shutdown.wait_for(|&begun| begun) => return Head::Closed,
    };
    if !matches!(first, Ok(Ok(1..))) {
        return Head::Closed;
    }
    let deadline = Instant::now() + limits.time;
    let mut scan = Scan::default();
    loop {
        match scan.advance(&mut buffer, limits) {
            Ok(Some(end)) => return complete(buffer, end, limits),
            Ok(None) => {}
            Err(problem) => return refused(problem, &buffer),
        }
        match timeout_at(deadline, stream.read_buf(&mut buffer)).await {
            Ok(Ok(1..)) => {}
            Ok(_) => return Head::Closed,
            Err(_) => {
                let problem = error::too_slow("the request head took too long to arrive");
                return refused(problem, &buffer);
            }
        }
    }
}

fn refused(problem: Problem, buffer: &[u8]) -> Head {
    let (method, path) = guess(buffer);
    Head::Refused(Box::new(Refusal {
        problem,
        method,
        path,
    }))
}

/// Looks for the end of the head, each byte once.
#[derive(Default)]
struct Scan {
    at: usize,
    line_start: usize,
    lines: usize,
}

impl Scan {
    /// The length of the head, once all of it is there.
    fn advance(&mut self, buffer: &mut BytesMut, limits: Limits) -> Result<Option<usize>, Problem> {
        let too_large = || error::headers_too_large(limits.bytes, limits.count);
        while let Some(found) = memchr::memchr(b'\n', &buffer[self.at..]) {
            let newline = self.at + found;
            if newline == 0 || buffer[newline - 1] != b'\r' {
                return Err(error::malformed("lines must end with CR LF"));
            }
            let empty = newline - 1 == self.line_start;
            if empty && self.lines == 0 {
                // An empty line before the request is tolerated (RFC 9112, 2.2).
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
        Err(problem) => refused(problem, head),
    }
}

/// Refuses what two readers might understand differently (RFC 9112, 6 and 3.2).
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
        return Err(error::wrong_method(&[]));
    }
    let (mut lengths, mut codings, mut hosts) = (0, 0, 0);
    for header in request.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        match header.name.len() {
            14 if is("content-length") => {
                lengths += 1;
                if header.value.is_empty() || !header.value.iter().all(u8::is_ascii_digit) {
                    return Err(error::malformed("Content-Length must be one whole number"));
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
                    return Err(error::malformed("Host must be a host and perhaps a port"));
                }
            }
            _ => {}
        }
    }
    let old = request.version == Some(0);
    match (lengths, codings, hosts) {
        (1.., 1.., _) => Err(error::malformed(
            "Content-Length and Transfer-Encoding exclude each other",
        )),
        (2.., ..) => Err(error::malformed("there must be one Content-Length at most")),
        (_, 2.., _) => Err(error::malformed(
            "there must be one Transfer-Encoding at most",
        )),
        (_, 1, _) if old => Err(error::malformed("HTTP/1.0 knows no Transfer-Encoding")),
        (_, _, 0) if !old => Err(error::malformed("the Host header is missing")),
        (_, _, 2..) => Err(error::malformed("there must be one Host header")),
        _ => Ok(()),
    }
}

fn is_authority(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+;=".contains(&byte)
}

/// Method and path of a head that may be broken, for the log.
fn guess(head: &[u8]) -> (Option<Method>, Option<String>) {
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
        time: Duration::from_secs(1),
        idle: Duration::from_secs(1),
    };

    /// Feeds the text byte by byte, as a slow client would.
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
                        Head::Refused(refusal) => refusal.problem.kind.code.to_owned(),
                        Head::Closed => "closed".to_owned(),
                    };
                }
                Err(problem) => return problem.kind.code.to_owned(),
            }
        }
        "partial".to_owned()
    }

    #[test]
    fn heads_are_taken_or_refused() {
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
    fn a_broken_head_is_logged_with_what_is_known() {
        assert_eq!(
            guess(b"GET /a?b=c HTTP/9"),
            (Some(Method::GET), Some("/a".to_owned()))
        );
        assert_eq!(guess(b"\x16\x03\x01"), (None, None));
    }
}
