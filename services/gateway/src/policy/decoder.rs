//! Decodes compressed request bodies: a few bytes may stand for gigabytes.
//!
//! By default they pass, as the gateway reads no body. A route may refuse them, or decode them within
//! the route's `body_limit_bytes` and a ratio, so that its upstream sees plain bodies only.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use zstd::stream::{raw, zio};

use super::flow::Flow;
use crate::error;

/// Decoded bytes for each received one; text and JSON stay far below.
const MAX_RATIO: u64 = 100;
/// Decoded bytes to which the ratio does not apply: a small body may be very uniform.
const FREE_BYTES: u64 = 64 * 1024;
const BROTLI_BUFFER_BYTES: usize = 4 * 1024;
/// 8 MiB, as clients may assume (RFC 9659).
const MAX_ZSTD_WINDOW_BITS: u32 = 23;

/// Why a body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    TooLarge,
    Invalid,
}

/// Decodes one body.
pub(crate) struct Decoder {
    coding: Coding,
    writer: Option<Writer>,
    max_bytes: u64,
    received: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Brotli,
    Zstd,
}

enum Writer {
    Gzip(MultiGzDecoder<Bounded>),
    Brotli(Box<brotli::DecompressorWriter<Bounded>>),
    Zstd(zio::Writer<Bounded, raw::Decoder<'static>>),
}

/// Takes no more than its bound, so that no part can expand beyond it.
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    /// All so far.
    written: u64,
    most: u64,
    exceeded: bool,
}

impl Coding {
    pub(super) fn of(value: &[u8]) -> Option<Self> {
        let is = |other: &[u8]| value.eq_ignore_ascii_case(other);
        if is(b"gzip") || is(b"x-gzip") {
            Some(Self::Gzip)
        } else if is(b"br") {
            Some(Self::Brotli)
        } else if is(b"zstd") {
            Some(Self::Zstd)
        } else {
            None
        }
    }
}

impl Decoder {
    pub(super) fn new(coding: Coding, max_bytes: u64) -> Self {
        Self {
            coding,
            writer: None,
            max_bytes,
            received: 0,
        }
    }

    /// The body is sent again.
    pub(super) fn restart(&mut self) {
        *self = Self::new(self.coding, self.max_bytes);
    }

    /// What the upstream is sent of this part. `end`: it is the last one.
    ///
    /// # Errors
    /// The answer to a body that is too large or not what it claims to be.
    pub(crate) fn part(&mut self, part: &[u8], end: bool) -> Result<Bytes, Flow> {
        self.decode(part, end).map_err(|refusal| {
            Flow::Reply(match refusal {
                Refusal::TooLarge => error::body_too_large(self.max_bytes).into(),
                Refusal::Invalid => error::malformed("the request body cannot be decoded").into(),
            })
        })
    }

    fn decode(&mut self, part: &[u8], end: bool) -> Result<Bytes, Refusal> {
        if self.writer.is_none() && part.is_empty() {
            // No body at all.
            return Ok(Bytes::new());
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(Writer::new(self.coding).map_err(|_| Refusal::Invalid)?),
        };
        self.received += part.len() as u64;
        let by_ratio = self.received.saturating_mul(MAX_RATIO).max(FREE_BYTES);
        writer.output().most = self.max_bytes.min(by_ratio);
        let result = writer.write(part, end);
        let output = writer.output();
        if output.exceeded {
            return Err(Refusal::TooLarge);
        }
        let decoded = std::mem::take(&mut output.bytes);
        result.map_err(|_| Refusal::Invalid)?;
        Ok(decoded.into())
    }
}

impl Writer {
    fn new(coding: Coding) -> io::Result<Self> {
        let output = Bounded::default();
        Ok(match coding {
            Coding::Gzip => Self::Gzip(MultiGzDecoder::new(output)),
            Coding::Brotli => {
                let writer = brotli::DecompressorWriter::new(output, BROTLI_BUFFER_BYTES);
                Self::Brotli(Box::new(writer))
            }
            Coding::Zstd => {
                let mut decoder = raw::Decoder::new()?;
                let window = raw::DParameter::WindowLogMax(MAX_ZSTD_WINDOW_BITS);
                decoder.set_parameter(window)?;
                Self::Zstd(zio::Writer::new(output, decoder))
            }
        })
    }

    fn output(&mut self) -> &mut Bounded {
        match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Brotli(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => decoder.writer_mut(),
        }
    }

    fn write(&mut self, part: &[u8], end: bool) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => {
                decoder.write_all(part)?;
                if end {
                    decoder.try_finish()?;
                }
            }
            Self::Brotli(decoder) => {
                decoder.write_all(part)?;
                if end {
                    decoder.close()?;
                }
            }
            Self::Zstd(decoder) => {
                decoder.write_all(part)?;
                decoder.flush()?;
                if end {
                    decoder.finish()?;
                }
            }
        }
        Ok(())
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written += bytes.len() as u64;
        if self.written > self.most {
            self.exceeded = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_tuple("Decoder")
            .field(&self.coding)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];

    fn encode(coding: Coding, plain: &[u8]) -> Vec<u8> {
        match coding {
            Coding::Gzip => {
                let level = flate2::Compression::new(9);
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap()
            }
            Coding::Brotli => {
                let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 9, 18);
                encoder.write_all(plain).unwrap();
                encoder.into_inner()
            }
            Coding::Zstd => zstd::stream::encode_all(plain, 9).unwrap(),
        }
    }

    fn decode(coding: Coding, encoded: &[u8], size: usize, most: u64) -> Result<Vec<u8>, Refusal> {
        let mut decoder = Decoder::new(coding, most);
        let mut plain = Vec::new();
        for part in encoded.chunks(size) {
            plain.extend_from_slice(&decoder.decode(part, false)?);
        }
        plain.extend_from_slice(&decoder.decode(&[], true)?);
        Ok(plain)
    }

    #[test]
    fn bodies_are_decoded_however_they_are_split() {
        let numbers: Vec<String> = (0..5_000).map(|number: u32| number.to_string()).collect();
        let text = numbers.join(", ");
        for coding in ALL {
            let encoded = encode(coding, text.as_bytes());
            for size in [1, 7, 1000, encoded.len()] {
                let plain = decode(coding, &encoded, size, 1_000_000).unwrap();
                assert_eq!(plain, text.as_bytes(), "{coding:?} in parts of {size}");
            }
        }
    }

    #[test]
    fn no_body_grows_beyond_its_bounds() {
        let zeros = vec![0; 20_000_000];
        for coding in ALL {
            let bomb = encode(coding, &zeros);
            assert!(bomb.len() < 100_000, "{coding:?}: {}", bomb.len());
            for most in [1_000, 100_000, 30_000_000] {
                let found = decode(coding, &bomb, 16_384, most);
                assert_eq!(found, Err(Refusal::TooLarge), "{coding:?} within {most}");
            }
        }
    }

    #[test]
    fn what_is_not_encoded_as_it_says_is_refused() {
        for coding in ALL {
            let found = decode(coding, b"plain text, and not even short", 8, 1_000);
            assert_eq!(found, Err(Refusal::Invalid), "{coding:?}");
            assert_eq!(decode(coding, b"", 1, 1_000), Ok(Vec::new()), "no body");
            let whole = encode(coding, b"a body that ends early");
            let part = &whole[..whole.len() - 2];
            let found = decode(coding, part, 8, 1_000);
            assert_eq!(found, Err(Refusal::Invalid), "{coding:?} ends early");
        }
    }
}
