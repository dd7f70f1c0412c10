//! W3C Trace Context: the trace of a request, continued from the caller or started here.

use http::{HeaderMap, HeaderName, HeaderValue};

pub static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Length of a `traceparent` of version 00.
const TEXT_BYTES: usize = 55;
const SAMPLED: u8 = 1;

/// The trace that a request belongs to, and the span of this process in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    pub trace_id: u128,
    pub span_id: u64,
    pub flags: u8,
}

impl TraceContext {
    /// A new trace, marked as sampled.
    pub fn start() -> Self {
        Self {
            trace_id: not_zero(rand::random),
            span_id: not_zero(rand::random),
            flags: SAMPLED,
        }
    }

    /// A new span in the trace that the headers name, or a new trace if they name none.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        Self::parent(headers).map_or_else(Self::start, |parent| Self {
            span_id: not_zero(rand::random),
            ..parent
        })
    }

    /// The span of the caller. `None` if the header is absent, invalid or repeated.
    pub(crate) fn parent(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(&TRACEPARENT).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        Self::parse(value.to_str().ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let version = hex(parts.next()?, 2)?;
        let trace_id = hex(parts.next()?, 32).filter(|&id| id != 0)?;
        let span_id = hex(parts.next()?, 16).filter(|&id| id != 0)?;
        let flags = hex(parts.next()?, 2)?;
        // Version 00 has four parts; later versions may have more.
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        Some(Self {
            trace_id,
            span_id: u64::try_from(span_id).ok()?,
            flags: u8::try_from(flags).ok()? & SAMPLED,
        })
    }

    /// The value of a `traceparent` header.
    pub fn header(&self) -> HeaderValue {
        let text = self.text();
        HeaderValue::from_bytes(&text).expect("hexadecimal digits and dashes are visible ASCII")
    }

    /// The same as text.
    pub fn text(&self) -> [u8; TEXT_BYTES] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&mut text[3..35], self.trace_id);
        write_hex(&mut text[36..52], self.span_id.into());
        write_hex(&mut text[53..TEXT_BYTES], self.flags.into());
        text
    }
}

/// Writes the lowest digits of a value, as many as there is room for.
pub(crate) fn write_hex(room: &mut [u8], mut value: u128) {
    for digit in room.iter_mut().rev() {
        *digit = b"0123456789abcdef"[usize::from((value & 0xf) as u8)];
        value >>= 4;
    }
}

/// The standard allows lowercase digits only.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let valid = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (text.len() == digits && text.bytes().all(valid))
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten()
}

/// All zeros mean "none" in the standard.
fn not_zero<T: Default + PartialEq>(mut random: impl FnMut() -> T) -> T {
    loop {
        let value = random();
        if value != T::default() {
            return value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn only_valid_parents_are_continued() {
        let parsed = TraceContext::parse(VALID).unwrap();
        assert_eq!(parsed.header(), VALID);
        assert!(TraceContext::parse(&format!("cc{}-more", &VALID[2..])).is_some());
        for invalid in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01",
        ] {
            assert_eq!(TraceContext::parse(invalid), None, "{invalid}");
        }
    }

    #[test]
    fn a_request_gets_a_span_of_its_own_in_the_trace_of_the_caller() {
        let mut headers = HeaderMap::new();
        headers.insert(&TRACEPARENT, VALID.parse().unwrap());
        let parent = TraceContext::parse(VALID).unwrap();
        let own = TraceContext::from_headers(&headers);
        assert_eq!((own.trace_id, own.flags), (parent.trace_id, parent.flags));
        assert_ne!(own.span_id, parent.span_id);
        headers.append(&TRACEPARENT, VALID.parse().unwrap());
        let new = TraceContext::from_headers(&headers);
        assert_ne!(
            new.trace_id, parent.trace_id,
            "a repeated header is ignored"
        );
    }
}
