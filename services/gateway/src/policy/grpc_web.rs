//! gRPC-web for a service that speaks gRPC: what browsers can send and read instead of trailers.
//!
//! A request gets the media type of gRPC; in the text form, its base64 is decoded. The trailers of the
//! response become the last frame of its body, and its media type is that of the request again
//! (PROTOCOL-WEB of the gRPC project). Other requests pass as they are.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

use super::flow::Flow;
use crate::error;

const GRPC: &[u8] = b"application/grpc";
const WEB: &[u8] = b"-web";
const TEXT: &[u8] = b"-text";
/// Of the frame of trailers, in place of the flags of a message.
const TRAILERS: u8 = 0x80;
/// Base64 characters that stand for three bytes.
const GROUP: usize = 4;

/// One call.
#[derive(Debug)]
pub(crate) struct GrpcWeb {
    is_text: bool,
    /// Characters of the request that are no whole group yet.
    rest: Vec<u8>,
    /// The response is gRPC, so it is translated.
    answers: bool,
}

/// The media type of gRPC in place of one of gRPC-web, and whether that was the text form.
pub(super) fn grpc_of(kind: &[u8]) -> Option<(bool, HeaderValue)> {
    let starts = |text: &[u8], start: &[u8]| {
        let found = text.get(..start.len());
        found.is_some_and(|found| found.eq_ignore_ascii_case(start))
    };
    let after = |text: &'_ [u8], start: &[u8]| -> Option<usize> {
        starts(text, start).then_some(start.len())
    };
    let mut at = after(kind, GRPC)?;
    at += after(&kind[at..], WEB)?;
    let text = after(&kind[at..], TEXT);
    let format = &kind[at + text.unwrap_or(0)..];
    if !matches!(format.first(), None | Some(b'+' | b';' | b' ' | b'\t')) {
        return None;
    }
    let grpc = HeaderValue::from_bytes(&[GRPC, format].concat()).ok()?;
    Some((text.is_some(), grpc))
}

impl GrpcWeb {
    pub(super) fn new(is_text: bool) -> Self {
        Self {
            is_text,
            rest: Vec::new(),
            answers: false,
        }
    }

    /// The request body gets another length.
    pub(super) fn decodes(&self) -> bool {
        self.is_text
    }

    /// The body is sent again.
    pub(super) fn restart(&mut self) {
        self.rest.clear();
    }

    /// What the upstream is sent of this part. `end`: it is the last one.
    ///
    /// # Errors
    /// The answer to a body that is not base64.
    pub(crate) fn request_part(&mut self, part: Bytes, end: bool) -> Result<Bytes, Flow> {
        if !self.is_text {
            return Ok(part);
        }
        self.rest.extend_from_slice(&part);
        let whole = self.rest.len() / GROUP * GROUP;
        let mut decoded = Vec::with_capacity(whole / GROUP * 3);
        // Messages are padded one by one, so there may be padding anywhere.
        let valid = self.rest[..whole]
            .chunks_exact(GROUP)
            .all(|group| STANDARD.decode_vec(group, &mut decoded).is_ok());
        self.rest.drain(..whole);
        if !valid || (end && !self.rest.is_empty()) {
            return Err(Flow::Reply(
                error::malformed("the request body is not base64").into(),
            ));
        }
        Ok(decoded.into())
    }

    /// Changes the head of a response of gRPC. False: it is another one, such as an error of a proxy.
    pub(crate) fn on_head(&mut self, headers: &mut HeaderMap) -> bool {
        let kind = headers.get(header::CONTENT_TYPE);
        let format = kind.and_then(|kind| kind.as_bytes().strip_prefix(GRPC));
        let format = format.filter(|format| !format.starts_with(WEB));
        let text: &[u8] = if self.is_text { TEXT } else { b"" };
        let web = format.map(|format| [GRPC, WEB, text, format].concat());
        let Some(web) = web.and_then(|web| HeaderValue::from_bytes(&web).ok()) else {
            return false;
        };
        headers.insert(header::CONTENT_TYPE, web);
        headers.remove(header::CONTENT_LENGTH);
        self.answers = true;
        true
    }

    /// What the client is sent of a part of the response.
    pub(crate) fn response_part(&self, part: Bytes) -> Bytes {
        if self.answers && self.is_text && !part.is_empty() {
            STANDARD.encode(part).into()
        } else {
            part
        }
    }

    /// The last frame of the body. `None`: the trailers stay what they are.
    pub(crate) fn trailers(&self, trailers: &HeaderMap) -> Option<Bytes> {
        if !self.answers {
            return None;
        }
        let mut lines = Vec::new();
        for (name, value) in trailers {
            lines.extend_from_slice(name.as_str().as_bytes());
            lines.extend_from_slice(b": ");
            lines.extend_from_slice(value.as_bytes());
            lines.extend_from_slice(b"\r\n");
        }
        let length = u32::try_from(lines.len()).ok()?.to_be_bytes();
        let frame = [&[TRAILERS][..], &length, &lines].concat();
        Some(self.response_part(frame.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types() {
        for (sent, expected) in [
            ("application/grpc-web", Some((false, "application/grpc"))),
            (
                "application/grpc-web+proto",
                Some((false, "application/grpc+proto")),
            ),
            (
                "Application/gRPC-Web-Text+proto; a=b",
                Some((true, "application/grpc+proto; a=b")),
            ),
            (
                "application/grpc-web-text",
                Some((true, "application/grpc")),
            ),
            ("application/grpc", None),
            ("application/grpc+proto", None),
            ("application/grpc-website", None),
            ("application/json", None),
            ("", None),
        ] {
            let expected = expected.map(|(text, kind)| (text, HeaderValue::from_static(kind)));
            assert_eq!(grpc_of(sent.as_bytes()), expected, "{sent}");
        }
    }

    fn call(is_text: bool) -> GrpcWeb {
        GrpcWeb {
            is_text,
            rest: Vec::new(),
            answers: true,
        }
    }

    #[test]
    fn base64_is_decoded_however_it_is_split() {
        // Two messages, each with its own padding.
        let sent = b"AAAAAAFhAAAAAAJiYg==AAAAAAFj";
        let expected = b"\0\0\0\0\x01a\0\0\0\0\x02bb\0\0\0\0\x01c";
        for size in 1..=sent.len() {
            let mut call = call(true);
            let mut decoded = Vec::new();
            let parts = sent.chunks(size).map(Bytes::from_static);
            for part in parts {
                decoded.extend_from_slice(&call.request_part(part, false).unwrap());
            }
            assert!(call.request_part(Bytes::new(), true).unwrap().is_empty());
            assert_eq!(decoded, expected, "in parts of {size}");
        }
        for (invalid, end) in [("AA!A", false), ("AAAA=AAA", false), ("AAAAA", true)] {
            let part = Bytes::from_static(invalid.as_bytes());
            assert!(call(true).request_part(part, end).is_err(), "{invalid}");
        }
        let part = call(false).request_part(Bytes::from_static(b"\x80"), true);
        assert_eq!(part.unwrap(), &b"\x80"[..]);
    }

    #[test]
    fn trailers_are_the_last_frame() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let frame = b"\x80\0\0\0\x10grpc-status: 0\r\n";
        assert_eq!(call(false).trailers(&trailers).unwrap(), &frame[..]);
        let text = call(true).trailers(&trailers).unwrap();
        assert_eq!(STANDARD.decode(text).unwrap(), frame);
        let mut other = call(false);
        other.answers = false;
        assert_eq!(other.trailers(&trailers), None);
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("text/html"));
        assert!(!other.on_head(&mut headers));
    }
}
