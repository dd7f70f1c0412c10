//! The head of a request as positions in the bytes that were received, and whether this path may
//! serve it.
//!
//! Positions rather than references, so that the bytes can stay where they are while more arrive.

use std::{mem::MaybeUninit, ops::Range};

use http::{HeaderName, HeaderValue, Method, Uri, Version, request::Parts};

/// Room for as many fields as pingora's parser has.
const MAX_FIELDS: usize = 256;
/// A longer number would not fit 64 bits with certainty.
const MAX_LENGTH_DIGITS: usize = 18;

/// A position in the head; heads are below 4 GiB.
type Span = Range<u32>;

/// The head of one request. Kept per connection, so that its list is not allocated again.
#[derive(Debug, Default)]
pub(in crate::edge) struct RequestHead {
    method: Method,
    target: Span,
    fields: Vec<(Span, Span)>,
    body_bytes: u64,
    close: bool,
}

/// A head together with its bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::edge) struct RequestView<'r> {
    head: &'r RequestHead,
    bytes: &'r [u8],
}

impl RequestHead {
    /// Reads a head that [`request_head`](super::super::request_head) has checked. False: this path
    /// does not serve it. It is meant for the common case; what is rare, or has a meaning beyond
    /// one request and one response, is left to pingora. Fields that `is_dropped` names are as good
    /// as not sent.
    pub(in crate::edge) fn read(&mut self, head: &[u8], is_dropped: impl Fn(&str) -> bool) -> bool {
        let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        let parsed = request.parse_with_uninit_headers(head, &mut room);
        let (Ok(httparse::Status::Complete(_)), Some(target), Some(1)) =
            (parsed, request.path, request.version)
        else {
            return false;
        };
        let method = request
            .method
            .and_then(|method| Method::from_bytes(method.as_bytes()).ok());
        let Some(method) = method.filter(|_| target.starts_with('/')) else {
            return false;
        };
        if matches!(method, Method::CONNECT | Method::TRACE) {
            return false;
        }
        let start = head.as_ptr().addr();
        let span = |part: &[u8]| {
            let from = part.as_ptr().addr() - start;
            let to = from + part.len();
            Some(u32::try_from(from).ok()?..u32::try_from(to).ok()?)
        };
        self.method = method;
        self.body_bytes = 0;
        self.close = false;
        self.fields.clear();
        for field in request.headers.iter() {
            if !self.note(field.name.as_bytes(), field.value) {
                return false;
            }
            let (Some(name), Some(value)) = (span(field.name.as_bytes()), span(field.value)) else {
                return false;
            };
            if !is_dropped(field.name) {
                self.fields.push((name, value));
            }
        }
        span(target.as_bytes())
            .map(|target| self.target = target)
            .is_some()
    }

    /// False: the field is none for this path.
    fn note(&mut self, name: &[u8], value: &[u8]) -> bool {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        match name.len() {
            6 if is(b"expect") => false,
            7 if is(b"upgrade") => false,
            17 if is(b"transfer-encoding") => false,
            14 if is(b"content-length") => match length(value) {
                Some(length) => {
                    self.body_bytes = length;
                    true
                }
                None => false,
            },
            10 if is(b"connection") => value.split(|&byte| byte == b',').all(|option| {
                let option = option.trim_ascii();
                let close = option.eq_ignore_ascii_case(b"close");
                self.close |= close;
                close || option.eq_ignore_ascii_case(b"keep-alive")
            }),
            _ => true,
        }
    }

    pub(in crate::edge) fn view<'r>(&'r self, bytes: &'r [u8]) -> RequestView<'r> {
        RequestView { head: self, bytes }
    }

    pub(in crate::edge) fn method(&self) -> &Method {
        &self.method
    }

    /// Bytes of the body.
    pub(in crate::edge) fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// The client will send no other request.
    pub(in crate::edge) fn close(&self) -> bool {
        self.close
    }
}

fn length(value: &[u8]) -> Option<u64> {
    let fits = (1..=MAX_LENGTH_DIGITS).contains(&value.len());
    let digits = fits && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value)
        .ok()
        .filter(|_| digits)?
        .parse()
        .ok()
}

impl<'r> RequestView<'r> {
    /// Path and query, as sent.
    pub(in crate::edge) fn target(self) -> &'r [u8] {
        self.part(&self.head.target)
    }

    /// Names and values in order.
    pub(in crate::edge) fn fields(self) -> impl Iterator<Item = (&'r [u8], &'r [u8])> {
        let fields = self.head.fields.iter();
        fields.map(move |(name, value)| (self.part(name), self.part(value)))
    }

    /// The head as routes and policies see it; `None` if it is not valid beyond its grammar.
    pub(in crate::edge) fn to_parts(self) -> Option<Parts> {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = self.head.method.clone();
        parts.uri = Uri::try_from(self.target()).ok()?;
        parts.version = Version::HTTP_11;
        parts.headers.reserve(self.head.fields.len());
        for (name, value) in self.fields() {
            let name = HeaderName::from_bytes(name).ok()?;
            parts
                .headers
                .append(name, HeaderValue::from_bytes(value).ok()?);
        }
        Some(parts)
    }

    fn part(self, span: &Span) -> &'r [u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &mut RequestHead, text: &str) -> bool {
        head.read(text.as_bytes(), |name| name.contains('_'))
    }

    #[test]
    fn common_requests_are_read() {
        let text = "POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: Keep-Alive, close\r\n\
             X: 1\r\nx: 2\r\nX_Y: 3\r\n\r\n";
        let mut head = RequestHead::default();
        for _ in 0..2 {
            assert!(read(&mut head, text));
            let parts = head.view(text.as_bytes()).to_parts().unwrap();
            assert_eq!(
                (parts.method, parts.uri.to_string()),
                (Method::POST, "/a?b".to_owned())
            );
            assert_eq!((head.body_bytes(), head.close()), (5, true));
            assert_eq!(
                parts.headers.get_all("x").iter().collect::<Vec<_>>(),
                ["1", "2"]
            );
            assert_eq!(parts.headers.len(), 5, "{:?}", parts.headers);
        }
        assert!(read(&mut head, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!((head.body_bytes(), head.close()), (0, false));
    }

    #[test]
    fn rare_requests_are_left_to_pingora() {
        for text in [
            "GET / HTTP/1.0\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-user-id\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection:\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1234567890123456789\r\n\r\n",
        ] {
            assert!(!read(&mut RequestHead::default(), text), "{text:?}");
        }
    }
}
