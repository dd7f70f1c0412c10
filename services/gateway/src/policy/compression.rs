//! Compresses responses as their clients accept it (RFC 9110, 12.5.3).
//!
//! What is received is sent at once: after every part the encoder is flushed, so that a body which
//! comes slowly is not held back. Its memory is bounded by its window, whatever the length of the body.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::{Compression as GzipLevel, write::GzEncoder};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::{
    request::Headers,
    routing::{Coding, CompressionSettings, preferred},
};

/// 256 KiB: what a response keeps while it is sent is a small multiple of it.
const WINDOW_BITS: u32 = 18;
const BROTLI_BUFFER_BYTES: usize = 4 * 1024;

/// Whether a response is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// It never is, whatever the client accepts.
    Never,
    /// Not for this client.
    Identity,
    Coded(Coding),
}

/// Encodes one body.
pub(crate) enum Encoder {
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Gzip(GzEncoder<Vec<u8>>),
}

impl CompressionSettings {
    /// Changes the head of a response that is to be compressed. `Some`: its body is to be encoded.
    pub(crate) fn on_head(
        &self,
        (method, request): (&Method, &dyn Headers),
        status: StatusCode,
        headers: &mut HeaderMap,
    ) -> Option<Encoder> {
        let choice = self.choose(request, status, headers);
        if choice == Choice::Never {
            return None;
        }
        if !varies(headers) {
            headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
        }
        let Choice::Coded(coding) = choice else {
            return None;
        };
        // A head without its body promises what the response to GET would be.
        let encoder = if *method == Method::HEAD {
            None
        } else {
            // Without one, the response passes as it is.
            Some(Encoder::new(coding, self.level).ok()?)
        };
        adapt(headers, coding);
        encoder
    }

    fn choose(&self, request: &dyn Headers, status: StatusCode, headers: &HeaderMap) -> Choice {
        if !self.is_compressible(status, headers) {
            return Choice::Never;
        }
        let accepted = request.all(header::ACCEPT_ENCODING);
        preferred(accepted, &self.algorithms).map_or(Choice::Identity, Choice::Coded)
    }

    fn is_compressible(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        let bodiless = status.is_informational()
            || matches!(
                status,
                StatusCode::NO_CONTENT
                    | StatusCode::RESET_CONTENT
                    | StatusCode::PARTIAL_CONTENT
                    | StatusCode::NOT_MODIFIED
            );
        let encoded = headers
            .get_all(header::CONTENT_ENCODING)
            .iter()
            .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
        let length = headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let small = length.is_some_and(|length| length < self.min_size_bytes);
        let fixed = (headers as &dyn Headers).lists(header::CACHE_CONTROL, "no-transform");
        let ranged = headers.contains_key(header::CONTENT_RANGE);
        !bodiless && !encoded && !small && !fixed && !ranged && self.is_listed(headers)
    }

    fn is_listed(&self, headers: &HeaderMap) -> bool {
        let value = headers.get(header::CONTENT_TYPE);
        value.is_some_and(|value| is_listed(self, value))
    }
}

/// Whether bodies of this type are compressed.
pub(super) fn is_listed(settings: &CompressionSettings, content_type: &HeaderValue) -> bool {
    let essence = content_type.as_bytes().split(|&byte| byte == b';').next();
    let essence = essence
        .unwrap_or_default()
        .trim_ascii()
        .to_ascii_lowercase();
    // Whatever is listed: these are streams, whose readers wait for every message.
    if essence == b"text/event-stream" || essence.starts_with(b"application/grpc") {
        return false;
    }
    settings
        .content_types
        .iter()
        .any(|listed| match listed.strip_suffix('*') {
            Some(kind) => essence.starts_with(kind.as_bytes()),
            None => essence == listed.as_bytes(),
        })
}

fn varies(headers: &HeaderMap) -> bool {
    let headers = headers as &dyn Headers;
    headers.lists(header::VARY, "accept-encoding") || headers.lists(header::VARY, "*")
}

/// The head of the encoded response. What was said of the bytes of the other one is removed.
fn adapt(headers: &mut HeaderMap, coding: Coding) {
    headers.insert(
        header::CONTENT_ENCODING,
        HeaderValue::from_static(coding.name()),
    );
    for name in [header::CONTENT_LENGTH, header::ACCEPT_RANGES] {
        headers.remove(name);
    }
    for name in ["content-md5", "content-digest", "repr-digest", "digest"] {
        headers.remove(HeaderName::from_static(name));
    }
    let etag = headers.get(header::ETAG).map(HeaderValue::as_bytes);
    let weak = etag.filter(|etag| !etag.starts_with(b"W/"));
    let weak = weak.and_then(|etag| HeaderValue::from_bytes(&[b"W/", etag].concat()).ok());
    if let Some(weak) = weak {
        headers.insert(header::ETAG, weak);
    }
}

impl Encoder {
    pub(super) fn new(coding: Coding, level: u32) -> io::Result<Self> {
        Ok(match coding {
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), GzipLevel::new(level))),
            Coding::Brotli => {
                let writer = brotli::CompressorWriter::new(
                    Vec::new(),
                    BROTLI_BUFFER_BYTES,
                    level,
                    WINDOW_BITS,
                );
                Self::Brotli(Box::new(writer))
            }
            Coding::Zstd => {
                let level = i32::try_from(level).unwrap_or(3);
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level)?;
                encoder.window_log(WINDOW_BITS)?;
                Self::Zstd(encoder)
            }
        })
    }

    /// What the client is sent of this part, and of all before it.
    ///
    /// # Errors
    /// When the encoder fails.
    pub(crate) fn part(&mut self, part: &[u8]) -> io::Result<Bytes> {
        let writer: &mut dyn Write = match self {
            Self::Zstd(encoder) => encoder,
            Self::Brotli(encoder) => encoder,
            Self::Gzip(encoder) => encoder,
        };
        writer.write_all(part)?;
        writer.flush()?;
        let encoded = match self {
            Self::Zstd(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Gzip(encoder) => encoder.get_mut(),
        };
        Ok(std::mem::take(encoded).into())
    }

    /// The last part, and the end.
    ///
    /// # Errors
    /// When the encoder fails.
    pub(crate) fn finish(mut self, part: &[u8]) -> io::Result<Bytes> {
        let writer: &mut dyn Write = match &mut self {
            Self::Zstd(encoder) => encoder,
            Self::Brotli(encoder) => encoder,
            Self::Gzip(encoder) => encoder,
        };
        writer.write_all(part)?;
        Ok(match self {
            Self::Zstd(encoder) => encoder.finish()?,
            Self::Brotli(encoder) => encoder.into_inner(),
            Self::Gzip(encoder) => encoder.finish()?,
        }
        .into())
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Encoder")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::request::header_map;

    const ALL: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

    fn settings() -> CompressionSettings {
        CompressionSettings {
            min_size_bytes: 100,
            content_types: vec!["text/*".into(), "application/json".into()],
            algorithms: ALL.into(),
            level: 5,
        }
    }

    #[test]
    fn only_what_gains_by_it_is_compressed() {
        let json = ("content-type", "Application/JSON; charset=utf-8");
        let compressible = |status: u16, fields: &[_]| {
            let status = StatusCode::from_u16(status).unwrap();
            settings().is_compressible(status, &header_map(fields))
        };
        for (status, fields, expected) in [
            (200, &[json][..], true),
            (404, &[json], true),
            (200, &[json, ("content-length", "100")], true),
            (200, &[json, ("content-length", "99")], false),
            (200, &[("content-type", "text/plain")], true),
            (200, &[("content-type", "image/png")], false),
            (200, &[("content-type", "text/event-stream;x")], false),
            (200, &[("content-type", "application/grpc+proto")], false),
            (200, &[], false),
            (200, &[json, ("content-encoding", "br")], false),
            (200, &[json, ("content-encoding", "identity")], true),
            (
                200,
                &[json, ("cache-control", "max-age=1, No-Transform")],
                false,
            ),
            (206, &[json], false),
            (200, &[json, ("content-range", "bytes 0-1/2")], false),
            (204, &[json], false),
            (304, &[json], false),
            (101, &[json], false),
        ] {
            assert_eq!(
                compressible(status, fields),
                expected,
                "{status} {fields:?}"
            );
        }
    }

    #[test]
    fn the_head_describes_the_encoded_response() {
        let accepts = header_map(&[("accept-encoding", "gzip")]);
        let sent = [
            ("content-type", "text/plain"),
            ("content-length", "100"),
            ("etag", "\"a\""),
            ("content-md5", "x"),
            ("accept-ranges", "bytes"),
            ("vary", "cookie"),
        ];
        for method in [Method::GET, Method::HEAD] {
            let mut headers = header_map(&sent);
            let request: (&Method, &dyn Headers) = (&method, &accepts);
            let encoder = settings().on_head(request, StatusCode::OK, &mut headers);
            assert_eq!(encoder.is_some(), method == Method::GET);
            let mut expected = header_map(&[
                ("content-type", "text/plain"),
                ("etag", "W/\"a\""),
                ("vary", "cookie"),
                ("content-encoding", "gzip"),
            ]);
            expected.append(header::VARY, HeaderValue::from_static("accept-encoding"));
            assert_eq!(headers, expected);
        }
        // Another client may get the encoded one.
        let mut headers = header_map(&sent);
        let request: (&Method, &dyn Headers) = (&Method::GET, &header_map(&[]));
        assert!(
            settings()
                .on_head(request, StatusCode::OK, &mut headers)
                .is_none()
        );
        assert_eq!(headers.get_all(header::VARY).iter().count(), 2);
        assert_eq!(headers[header::ETAG], "\"a\"");
    }

    fn decode(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut decoded = Vec::new();
        // A part of a body ends early.
        let _ = match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut decoded),
            Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut decoded),
            Coding::Zstd => zstd::stream::read::Decoder::new(bytes)
                .unwrap()
                .read_to_end(&mut decoded),
        };
        decoded
    }

    #[test]
    fn every_part_reaches_the_client_at_once() {
        for coding in ALL {
            let mut encoder = Encoder::new(coding, 5).unwrap();
            let (mut sent, mut plain) = (Vec::new(), Vec::new());
            for at in 0..20 {
                let part = format!("part {at} of a body; ").repeat(at * 10);
                plain.extend_from_slice(part.as_bytes());
                sent.extend_from_slice(&encoder.part(part.as_bytes()).unwrap());
                assert_eq!(decode(coding, &sent), plain, "{coding:?} after part {at}");
            }
            sent.extend_from_slice(&encoder.finish(b"end").unwrap());
            plain.extend_from_slice(b"end");
            assert_eq!(decode(coding, &sent), plain, "{coding:?}");
            assert!(sent.len() < plain.len() / 4, "{coding:?}: {}", sent.len());
        }
    }
}
