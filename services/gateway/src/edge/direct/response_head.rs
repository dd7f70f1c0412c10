//! Reads the head of an upstream's response, and determines where its body ends.
//!
//! Strict on purpose. A response whose length can be read in two ways would let bytes of one
//! response be taken for the next one, which may belong to another client. So what is doubtful is
//! refused: the client gets 502, and the connection is closed (RFC 9112, 6.3).
//!
//! [`HeadEnd`] looks at every byte once, however the head is split over reads; [`parse`] runs once,
//! on a complete head.

use std::mem::MaybeUninit;

use httparse::Header;

/// Room for as many fields as pingora's parser has.
pub(super) const MAX_FIELDS: usize = 256;
/// A longer response head is refused.
pub(super) const MAX_HEAD_BYTES: usize = 64 * 1024;
/// A longer number would not fit 64 bits with certainty.
const MAX_LENGTH_DIGITS: usize = 18;

/// Room for the fields of one head.
pub(super) type FieldRoom<'i> = [MaybeUninit<Header<'i>>; MAX_FIELDS];

/// Why a response is not passed on, for the log.
pub(super) type RefusalReason = &'static str;

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    Empty,
    Length(u64),
    Chunked,
    /// With the connection.
    UntilClose,
}

/// A head that can be understood in one way only.
#[derive(Debug)]
pub(super) struct ResponseHead<'f, 'i> {
    pub(super) status: u16,
    pub(super) reason: &'i str,
    pub(super) framing: Framing,
    /// The connection may carry another request after this response.
    pub(super) persistent: bool,
    pub(super) fields: &'f [Header<'i>],
}

impl ResponseHead<'_, '_> {
    /// An interim response; the final one follows.
    pub(super) fn is_interim(&self) -> bool {
        self.status < 200 && !self.switches()
    }

    /// The upstream speaks another protocol from here on. Only for whom asked for it.
    pub(super) fn switches(&self) -> bool {
        self.status == 101
    }

    pub(super) fn is_event_stream(&self) -> bool {
        const EVENTS: &[u8] = b"text/event-stream";
        self.fields.iter().any(|field| {
            field.name.eq_ignore_ascii_case("content-type")
                && field
                    .value
                    .get(..EVENTS.len())
                    .is_some_and(|kind| kind.eq_ignore_ascii_case(EVENTS))
        })
    }
}

/// Finds the empty line that ends a head.
#[derive(Debug, Default)]
pub(super) struct HeadEnd {
    at: usize,
    line_start: usize,
}

impl HeadEnd {
    /// The length of the head, once it is complete. `input` is what has been received so far.
    ///
    /// # Errors
    /// When the head is too large, or a line ends with LF alone.
    pub(super) fn find(&mut self, input: &[u8]) -> Result<Option<usize>, RefusalReason> {
        while let Some(found) = memchr::memchr(b'\n', &input[self.at..]) {
            let newline = self.at + found;
            if newline == 0 || input[newline - 1] != b'\r' {
                return Err("lines of the response head must end with CR LF");
            }
            self.at = newline + 1;
            if self.at > MAX_HEAD_BYTES {
                break;
            }
            if newline - 1 == self.line_start {
                return Ok(Some(self.at));
            }
            self.line_start = self.at;
        }
        self.at = self.at.max(input.len());
        if self.at > MAX_HEAD_BYTES {
            return Err("the response head is too large");
        }
        Ok(None)
    }
}

/// `to_head`: the response is to a HEAD request.
///
/// # Errors
/// When two readers could understand the head differently.
pub(super) fn parse<'f, 'i>(
    head: &'i [u8],
    to_head: bool,
    room: &'f mut FieldRoom<'i>,
) -> Result<ResponseHead<'f, 'i>, RefusalReason> {
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut response, head, room) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err("too many response headers"),
        Ok(_) | Err(_) => return Err("the response head cannot be parsed"),
    }
    let status = response.code.ok_or("the response has no status")?;
    if !(100..=599).contains(&status) {
        return Err("the status is out of range");
    }
    let old = response.version == Some(0);
    let fields: &'f [Header<'i>] = response.headers;
    let mut seen = FramingFields::default();
    for field in fields {
        seen.note(field)?;
    }
    let framing = seen.framing(status, to_head, old)?;
    // HTTP/1.0 knows persistence as an extension only; such an upstream is not worth the doubt.
    let persistent = !old && !seen.close;
    Ok(ResponseHead {
        status,
        reason: response.reason.unwrap_or_default(),
        framing,
        persistent: persistent && framing != Framing::UntilClose,
        fields,
    })
}

/// What the framing depends on, collected from the fields.
#[derive(Default)]
struct FramingFields {
    length: Option<u64>,
    chunked: bool,
    close: bool,
}

impl FramingFields {
    fn note(&mut self, field: &Header<'_>) -> Result<(), RefusalReason> {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        match field.name.len() {
            14 if is("content-length") => {
                if self.length.is_some() {
                    return Err("the response has two Content-Length fields");
                }
                let length = whole_number(field.value)
                    .ok_or("Content-Length of the response is not a whole number")?;
                self.length = Some(length);
            }
            17 if is("transfer-encoding") => {
                if self.chunked || !field.value.eq_ignore_ascii_case(b"chunked") {
                    return Err("Transfer-Encoding of the response is not chunked");
                }
                self.chunked = true;
            }
            10 if is("connection") => {
                for option in field.value.split(|&byte| byte == b',') {
                    self.close |= option.trim_ascii().eq_ignore_ascii_case(b"close");
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn framing(&self, status: u16, to_head: bool, old: bool) -> Result<Framing, RefusalReason> {
        if self.chunked && self.length.is_some() {
            return Err("the response has both Content-Length and Transfer-Encoding");
        }
        if self.chunked && old {
            return Err("an HTTP/1.0 response cannot be chunked");
        }
        let announced = self.chunked || self.length.is_some_and(|length| length > 0);
        if announced && (status < 200 || status == 204) {
            return Err("a response without a body announces one");
        }
        Ok(match (self.chunked, self.length) {
            _ if to_head || status < 200 || status == 204 || status == 304 => Framing::Empty,
            (true, _) => Framing::Chunked,
            (false, Some(0)) => Framing::Empty,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::UntilClose,
        })
    }
}

fn whole_number(value: &[u8]) -> Option<u64> {
    if value.len() > MAX_LENGTH_DIGITS || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the text byte by byte.
    fn read(text: &[u8], to_head: bool) -> Result<(Framing, bool), RefusalReason> {
        let mut end = HeadEnd::default();
        for received in 1..=text.len() {
            if let Some(length) = end.find(&text[..received])? {
                let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
                let head = parse(&text[..length], to_head, &mut room)?;
                return Ok((head.framing, head.persistent));
            }
        }
        Err("incomplete")
    }

    #[test]
    fn where_a_body_ends_has_one_answer() {
        use Framing::{Chunked, Empty, Length, UntilClose};
        for (text, to_head, framing, persistent) in [
            ("200 OK\r\nContent-Length: 3", false, Length(3), true),
            ("200\r\nContent-Length: 3", false, Length(3), true),
            ("200 OK\r\ncontent-length: 0", false, Empty, true),
            ("200 OK\r\nContent-Length: 3", true, Empty, true),
            ("200 OK\r\nTransfer-Encoding: Chunked", false, Chunked, true),
            ("200 OK\r\nTransfer-Encoding: chunked", true, Empty, true),
            ("200 OK", false, UntilClose, false),
            ("200 OK", true, Empty, true),
            ("204 No Content", false, Empty, true),
            ("204 No Content\r\nContent-Length: 0", false, Empty, true),
            ("304 Not Modified\r\nContent-Length: 9", false, Empty, true),
            ("103 Early Hints\r\nLink: a", false, Empty, true),
            (
                "200 OK\r\nConnection: x, Close\r\nContent-Length: 3",
                false,
                Length(3),
                false,
            ),
        ] {
            let text = format!("HTTP/1.1 {text}\r\n\r\n");
            assert_eq!(
                read(text.as_bytes(), to_head),
                Ok((framing, persistent)),
                "{text:?}"
            );
        }
        let old = b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n";
        assert_eq!(read(old, false), Ok((Length(3), false)));
    }

    #[test]
    fn doubtful_heads_are_refused() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0x3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3 4\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\nContent-Length: 3\n\n",
            "HTTP/1.1 200 OK\r\nX: a\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
            "HTTP/1.1 200 OK\r\n: a\r\n\r\n",
            "HTTP/1.1 099 Low\r\n\r\n",
            "HTTP/1.1 999 High\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
        ] {
            let outcome = read(text.as_bytes(), false);
            assert!(
                !matches!(outcome, Ok(_) | Err("incomplete")),
                "{text:?}: {outcome:?}"
            );
        }
        assert_eq!(read(b"HTTP/1.1 200 OK\r\n", false), Err("incomplete"));
    }

    #[test]
    fn heads_are_bounded() {
        let line = format!("X: {}\r\n", "y".repeat(1000));
        let large = format!("HTTP/1.1 200 OK\r\n{}\r\n", line.repeat(70));
        assert_eq!(
            HeadEnd::default().find(large.as_bytes()),
            Err("the response head is too large")
        );
        let endless = vec![b'x'; MAX_HEAD_BYTES + 1];
        assert_eq!(
            HeadEnd::default().find(&endless),
            Err("the response head is too large")
        );
        let many = format!(
            "HTTP/1.1 200 OK\r\n{}\r\n",
            "A: b\r\n".repeat(MAX_FIELDS + 1)
        );
        assert_eq!(
            read(many.as_bytes(), false),
            Err("too many response headers")
        );
    }
}
