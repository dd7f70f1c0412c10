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
//! [`HeadScan`] looks at every byte once, however the head is split over reads. When it has found the
//! end, [`check`] parses the head and notes it for the direct path; for the other one, its bytes are
//! handed to pingora, unchanged but for the [absolute form](absolute_form). What follows them stays in
//! the [`ClientStream`], which knows from the head where the request ends.

use std::{mem::MaybeUninit, pin::Pin, time::Duration};

use bytes::{Buf, BytesMut};
use http::{Method, uri::PathAndQuery};
use quartet_common::problem::Problem;
use tokio::time::Instant;

use super::{
    absolute_form,
    chunks::Chunks,
    client_stream::{ClientStream, Extent},
    direct::{Alarm, RequestHead},
    framing::Framing,
    reply::RejectedHead,
};
use crate::{error, request::RequestTarget};

/// pingora has no room for more.
const MOST_HEADERS: usize = 256;
/// The start of a connection with HTTP/2 (RFC 9113, 3.4); up to the first empty line it could be a
/// request head.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HTTP2_HEAD: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// Bounds of a request head.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLimits {
    pub(super) bytes: usize,
    pub(super) count: usize,
    /// From the first byte to the last.
    pub(super) timeout: Duration,
    /// Until the first byte.
    pub(super) idle_timeout: Duration,
    /// The same, once the shutdown has begun.
    pub(super) closing_timeout: Duration,
}

/// The result of reading from a connection.
pub(super) enum ReadHead {
    /// A valid head. The connection can be read to the end of its request.
    Complete(BytesMut),
    /// The client speaks HTTP/2; its first bytes are still ahead.
    Http2,
    /// The client disconnected, or the connection was idle for too long.
    Closed,
    Rejected(Box<RejectedHead>),
}

/// What reading a head needs of its connection.
pub(super) struct HeadReader<'c, S> {
    pub(super) stream: &'c mut ClientStream,
    /// The timer of the connection.
    pub(super) alarm: &'c mut Alarm,
    /// Ready once the shutdown has begun.
    pub(super) shutdown: Pin<&'c mut S>,
    /// Where a valid head is noted.
    pub(super) parsed: &'c mut RequestHead,
}

impl<S: Future<Output = ()>> HeadReader<'_, S> {
    pub(super) async fn read(mut self, limits: HeadLimits) -> ReadHead {
        if !self.begins(limits).await {
            return ReadHead::Closed;
        }
        let mut deadline = None;
        let mut scan = HeadScan::default();
        loop {
            match scan.find(self.stream.ahead(), limits, self.parsed) {
                Ok(Some(FoundHead::Request {
                    length,
                    extent,
                    respelled,
                })) => {
                    let head = self.stream.begin(length, extent);
                    return ReadHead::Complete(respelled.unwrap_or(head));
                }
                Ok(Some(FoundHead::Http2)) => return ReadHead::Http2,
                Ok(None) => {}
                Err(problem) => return rejected(problem, self.stream.ahead()),
            }
            let until = *deadline.get_or_insert_with(|| Instant::now() + limits.timeout);
            match self.alarm.bound(Some(until), self.stream.fill()).await {
                Some(Ok(1..)) => {}
                Some(_) => return ReadHead::Closed,
                None => {
                    let problem = error::request_timeout("the request head did not arrive in time");
                    return rejected(problem, self.stream.ahead());
                }
            }
        }
    }

    /// Waits for the first byte. Empty lines before a request are not its beginning (RFC 9112, 2.2).
    async fn begins(&mut self, limits: HeadLimits) -> bool {
        let (mut idle_until, mut closing) = (None, false);
        loop {
            while self.stream.ahead().starts_with(b"\r\n") {
                self.stream.ahead().advance(2);
            }
            if !matches!(&self.stream.ahead()[..], b"" | b"\r") {
                return true;
            }
            let until = *idle_until.get_or_insert_with(|| Instant::now() + limits.idle_timeout);
            let read = async {
                tokio::select! {
                    biased;
                    read = self.stream.fill() => Some(matches!(read, Ok(1..))),
                    () = self.shutdown.as_mut(), if !closing => None,
                }
            };
            match self.alarm.bound(Some(until), read).await {
                Some(Some(true)) => {}
                Some(None) if !limits.closing_timeout.is_zero() => {
                    closing = true;
                    idle_until = Some(until.min(Instant::now() + limits.closing_timeout));
                }
                // No request has started, so none is lost.
                Some(Some(false) | None) | None => return false,
            }
        }
    }
}

fn rejected(problem: Problem, buffer: &[u8]) -> ReadHead {
    let (method, path) = request_line(buffer);
    ReadHead::Rejected(Box::new(RejectedHead {
        problem,
        method,
        path,
    }))
}

/// Finds the end of the head, looking at each byte once.
#[derive(Default)]
pub(super) struct HeadScan {
    at: usize,
    line_start: usize,
    lines: usize,
    /// The length of the head.
    end: Option<usize>,
}

impl HeadScan {
    /// The head, once it is complete.
    pub(super) fn find(
        &mut self,
        buffer: &mut BytesMut,
        limits: HeadLimits,
        parsed: &mut RequestHead,
    ) -> Result<Option<FoundHead>, Problem> {
        if self.end.is_none() {
            self.end = self.advance(buffer, limits)?;
        }
        match self.end {
            Some(end) => recognize(buffer, end, limits, parsed),
            None => Ok(None),
        }
    }

    fn advance(
        &mut self,
        buffer: &mut BytesMut,
        limits: HeadLimits,
    ) -> Result<Option<usize>, Problem> {
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

pub(super) enum FoundHead {
    Request {
        length: usize,
        extent: Extent,
        /// The head to serve in place of that in absolute form.
        respelled: Option<BytesMut>,
    },
    Http2,
}

/// What the first `end` bytes are. `None`: that depends on the next ones.
fn recognize(
    buffer: &[u8],
    end: usize,
    limits: HeadLimits,
    parsed: &mut RequestHead,
) -> Result<Option<FoundHead>, Problem> {
    if &buffer[..end] != HTTP2_HEAD {
        let (extent, respelled) = check(&buffer[..end], limits, parsed)?;
        return Ok(Some(FoundHead::Request {
            length: end,
            extent,
            respelled,
        }));
    }
    let compared = buffer.len().min(HTTP2_PREFACE.len());
    if buffer[..compared] != HTTP2_PREFACE[..compared] {
        return Err(error::malformed("the HTTP/2 preface is invalid"));
    }
    Ok((compared == HTTP2_PREFACE.len()).then_some(FoundHead::Http2))
}

/// Refuses a head that two servers might read differently (RFC 9112, 6 and 3.2). Notes a valid one,
/// and returns what follows it, and the head in origin form if it has another one.
fn check(
    head: &[u8],
    limits: HeadLimits,
    parsed: &mut RequestHead,
) -> Result<(Extent, Option<BytesMut>), Problem> {
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
    let method = request.method.unwrap_or_default();
    if request.path.unwrap_or_default().contains('#') {
        return Err(error::malformed(
            "the request target must not have a fragment",
        ));
    }
    check_method(method)?;
    let is_http_1_0 = request.version == Some(0);
    let framing = Framing::read(request.headers)?;
    framing.check(is_http_1_0)?;
    let respelled = absolute_form::respell(&request)?;
    match &respelled {
        None => note(head, &request, parsed)?,
        Some(head) => note_again(head, parsed)?,
    }
    let extent = match framing.length {
        Some(1..) => Extent::Length(framing.length.unwrap_or_default()),
        _ if framing.codings > 0 => Extent::Chunked(Chunks::default()),
        _ if framing.upgrade && method == "GET" && !is_http_1_0 => Extent::Handshake,
        _ => Extent::Ended,
    };
    Ok((extent, respelled))
}

/// Some servers read `post` as `POST`, for which another route may have been meant.
///
/// # Errors
/// 400 or 405.
pub(super) fn check_method(method: &str) -> Result<(), Problem> {
    if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(error::malformed("the method must be in upper case"));
    }
    if matches!(method, "CONNECT" | "TRACE") {
        return Err(error::method_not_allowed(&[]));
    }
    Ok(())
}

/// Notes a head that was written again.
fn note_again(head: &[u8], parsed: &mut RequestHead) -> Result<(), Problem> {
    let mut headers = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let result = request.parse_with_uninit_headers(head, &mut headers);
    if !matches!(result, Ok(httparse::Status::Complete(_))) {
        return Err(error::malformed("the request head cannot be parsed"));
    }
    note(head, &request, parsed)
}

/// Notes a head. What is not noted as common is for pingora, whose refusal would be a bare 400 without
/// a line in the log; so everything that it refuses is refused here.
fn note(
    head: &[u8],
    request: &httparse::Request<'_, '_>,
    parsed: &mut RequestHead,
) -> Result<(), Problem> {
    parsed.note(head, request);
    if parsed.is_common() {
        return Ok(());
    }
    let method = request.method.unwrap_or_default();
    if Method::from_bytes(method.as_bytes()).is_err() {
        return Err(error::malformed("the method is invalid"));
    }
    // The same parser as pingora's.
    if PathAndQuery::try_from(request.path.unwrap_or_default()).is_err() {
        return Err(error::malformed(
            "the request target has a character that a URL cannot have, or is too long",
        ));
    }
    Ok(())
}

/// Method and path of a head that may be invalid, for the log.
fn request_line(head: &[u8]) -> (Option<Method>, Option<String>) {
    let line = head
        .split(|&byte| byte == b'\r' || byte == b'\n')
        .next()
        .unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ');
    let method = words.next().and_then(|word| Method::from_bytes(word).ok());
    let target = words
        .next()
        .map(|word| String::from_utf8_lossy(&word[..word.len().min(1024)]));
    let path = target.and_then(|target| {
        let path = RequestTarget::split(&target).path;
        path.starts_with('/').then(|| path.to_owned())
    });
    (method, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 2048,
        count: 5,
        timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(1),
        closing_timeout: Duration::ZERO,
    };

    /// Feeds the text byte by byte, like a slow client.
    fn outcome(text: &str) -> String {
        let mut buffer = BytesMut::new();
        let mut scan = HeadScan::default();
        for byte in text.bytes() {
            buffer.extend_from_slice(&[byte]);
            match scan.find(&mut buffer, LIMITS, &mut RequestHead::default()) {
                Ok(Some(FoundHead::Request { .. })) => return "ok".to_owned(),
                Ok(Some(FoundHead::Http2)) => return "h2".to_owned(),
                Ok(None) => {}
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
            ("PRI * HTTP/2.0\r\n\r\n", "partial"),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "h2"),
            ("PRI * HTTP/2.0\r\n\r\nSMTP", "malformed_request"),
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
            ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "method_not_allowed"),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
                "malformed_request",
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
