//! The head of a request as positions in the bytes that were received, and whether this path may
//! serve it.
//!
//! Positions rather than references, so that the bytes can stay where they are while more arrive.
//! The head is parsed once, by [`request_head`](super::super::request_head), which fills this.

use std::ops::Range;

use http::{HeaderName, Method};

use crate::{edge::response_framing::whole_number, request::Headers};

/// Longer targets are rare, and `http::Uri` does not accept every one of them.
const MAX_TARGET_BYTES: usize = 32 * 1024;
/// Fields whose room is kept from one request to the next.
const KEPT_FIELDS: usize = 32;

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
    /// There is an `Upgrade`.
    upgrade: bool,
    /// `Connection` names it.
    names_upgrade: bool,
    /// This path may serve it.
    common: bool,
}

/// A head together with its bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::edge) struct RequestView<'r> {
    head: &'r RequestHead,
    bytes: &'r [u8],
}

impl RequestHead {
    /// Notes a head that has been checked; `request` was parsed from `head`.
    pub(in crate::edge) fn note(&mut self, head: &[u8], request: &httparse::Request<'_, '_>) {
        self.body_bytes = 0;
        self.close = false;
        self.upgrade = false;
        self.names_upgrade = false;
        self.fields.clear();
        self.fields.shrink_to(KEPT_FIELDS);
        self.common = self.read(head, request).is_some();
    }

    /// `None`: this path does not serve it. It is meant for the common case; what is rare, or has a
    /// meaning beyond one request and one response, is left to pingora.
    fn read(&mut self, head: &[u8], request: &httparse::Request<'_, '_>) -> Option<()> {
        let target = request.path.filter(|target| is_common(target))?;
        if request.version != Some(1) {
            return None;
        }
        self.method = Method::from_bytes(request.method?.as_bytes()).ok()?;
        if matches!(self.method, Method::CONNECT | Method::TRACE) {
            return None;
        }
        let start = head.as_ptr().addr();
        let span = |part: &[u8]| {
            let from = part.as_ptr().addr().checked_sub(start)?;
            let to = from + part.len();
            Some(u32::try_from(from).ok()?..u32::try_from(to).ok()?)
        };
        for field in request.headers.iter() {
            let name = field.name.as_bytes();
            if !self.allows(name, field.value) {
                return None;
            }
            self.fields.push((span(name)?, span(field.value)?));
        }
        self.target = span(target.as_bytes())?;
        (self.upgrade == self.names_upgrade).then_some(())
    }

    /// False: a request with this field is none for this path.
    fn allows(&mut self, name: &[u8], value: &[u8]) -> bool {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        match name.len() {
            6 if is(b"expect") => false,
            7 if is(b"upgrade") => {
                self.upgrade = true;
                true
            }
            17 if is(b"transfer-encoding") => false,
            14 if is(b"content-length") => match whole_number(value) {
                Some(length) => {
                    self.body_bytes = length;
                    true
                }
                None => false,
            },
            10 if is(b"connection") => value.split(|&byte| byte == b',').all(|option| {
                let option = option.trim_ascii();
                let close = option.eq_ignore_ascii_case(b"close");
                let upgrade = option.eq_ignore_ascii_case(b"upgrade");
                self.close |= close;
                self.names_upgrade |= upgrade;
                close || upgrade || option.eq_ignore_ascii_case(b"keep-alive")
            }),
            _ => true,
        }
    }

    /// Whether this path may serve the request.
    pub(in crate::edge) fn is_common(&self) -> bool {
        self.common
    }

    /// The client asks for another protocol.
    pub(super) fn asks_upgrade(&self) -> bool {
        self.upgrade
    }

    /// Leaves out the fields that `is_dropped` names: they are as good as not sent.
    pub(super) fn drop_fields(&mut self, head: &[u8], is_dropped: impl Fn(&[u8]) -> bool) {
        self.fields
            .retain(|(name, _)| !is_dropped(part(head, name)));
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

/// A path that is a valid part of a URI as it stands; others may still be one.
fn is_common(target: &str) -> bool {
    target.starts_with('/')
        && target.len() <= MAX_TARGET_BYTES
        && target.bytes().all(|byte| COMMON[usize::from(byte)])
}

/// Bytes of common targets.
const COMMON: [bool; 256] = {
    let mut common = [false; 256];
    let bytes =
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/!$&'()*+,;=:@%?";
    let mut at = 0;
    while at < bytes.len() {
        common[bytes[at] as usize] = true;
        at += 1;
    }
    common
};

fn part<'r>(bytes: &'r [u8], span: &Span) -> &'r [u8] {
    &bytes[span.start as usize..span.end as usize]
}

impl<'r> RequestView<'r> {
    /// Path and query, as sent.
    pub(in crate::edge) fn target(self) -> &'r [u8] {
        part(self.bytes, &self.head.target)
    }

    /// The path alone.
    pub(super) fn path(self) -> &'r str {
        let target = self.target();
        let end = memchr::memchr(b'?', target).unwrap_or(target.len());
        // Only ASCII is common.
        std::str::from_utf8(&target[..end]).unwrap_or_default()
    }

    /// Names and values in order.
    pub(in crate::edge) fn fields(self) -> impl Iterator<Item = (&'r [u8], &'r [u8])> {
        let fields = self.head.fields.iter();
        fields.map(move |(name, value)| (part(self.bytes, name), part(self.bytes, value)))
    }
}

/// A search from the start: a table of few fields costs more than it saves.
impl Headers for RequestView<'_> {
    fn nth(&self, name: &HeaderName, index: usize) -> Option<&[u8]> {
        let name = name.as_str().as_bytes();
        let mut found = self
            .fields()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name));
        found.nth(index).map(|(_, value)| value)
    }

    fn each_name(&self, see: &mut dyn FnMut(&[u8])) {
        for (name, _) in self.fields() {
            see(name);
        }
    }
}

#[cfg(test)]
impl RequestHead {
    pub(super) fn note_text(&mut self, text: &str) {
        let mut room = [httparse::EMPTY_HEADER; 16];
        let mut request = httparse::Request::new(&mut room);
        assert!(request.parse(text.as_bytes()).unwrap().is_complete());
        self.note(text.as_bytes(), &request);
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    fn read(head: &mut RequestHead, text: &str) -> bool {
        head.note_text(text);
        head.drop_fields(text.as_bytes(), |name| name.contains(&b'_'));
        head.is_common()
    }

    #[test]
    fn common_requests_are_read() {
        let text = "POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: Keep-Alive, close\r\n\
             X-A: 1\r\nx-a: 2\r\nX_Y: 3\r\n\r\n";
        let mut head = RequestHead::default();
        for _ in 0..2 {
            assert!(read(&mut head, text));
            let view = head.view(text.as_bytes());
            assert_eq!(
                (head.method(), view.target(), view.path()),
                (&Method::POST, &b"/a?b"[..], "/a")
            );
            assert_eq!((head.body_bytes(), head.close()), (5, true));
            let name = HeaderName::from_static("x-a");
            let values: Vec<_> = (0..3).map(|index| view.nth(&name, index)).collect();
            assert_eq!(values, [Some(&b"1"[..]), Some(b"2"), None]);
            assert_eq!(view.first(&header::HOST), Some(&b"a"[..]));
            assert_eq!(view.fields().count(), 5);
        }
        assert!(read(&mut head, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!((head.body_bytes(), head.close()), (0, false));
    }

    #[test]
    fn every_common_target_is_a_uri() {
        for byte in 0..=u8::MAX {
            let target = format!("/{}?{}", char::from(byte), char::from(byte));
            if is_common(&target) {
                let uri: http::Uri = target.parse().unwrap();
                assert_eq!(uri.to_string(), target);
            }
        }
    }

    #[test]
    fn rare_requests_are_left_to_pingora() {
        for text in [
            "GET / HTTP/1.0\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a|b HTTP/1.1\r\nHost: a\r\n\r\n",
            "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n",
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
