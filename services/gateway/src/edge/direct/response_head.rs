//! Reads the head of an upstream's response, as strictly as the [rules](crate::edge::response_framing)
//! for the end of its body are.
//!
//! [`HeadEnd`] looks at every byte once, however the head is split over reads; [`parse`] runs once,
//! on a complete head.

use std::mem::MaybeUninit;

use httparse::Header;

use crate::edge::{
    downstream::is_event_stream_type,
    response_framing::{Framing, FramingFields, MAX_HEAD_BYTES, RefusalReason},
};

/// Room for as many fields as pingora's parser has.
pub(super) const MAX_FIELDS: usize = 256;

/// Room for the fields of one head.
pub(super) type FieldRoom<'i> = [MaybeUninit<Header<'i>>; MAX_FIELDS];

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
        self.fields.iter().any(|field| {
            field.name.eq_ignore_ascii_case("content-type") && is_event_stream_type(field.value)
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
    let old = response.version == Some(0);
    let fields: &'f [Header<'i>] = response.headers;
    let mut seen = FramingFields::default();
    for field in fields {
        seen.note(field.name.as_bytes(), field.value)?;
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
