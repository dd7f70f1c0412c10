//! Where the body of an upstream's response ends: the rules of both paths.
//!
//! Strict on purpose. A response whose length can be read in two ways would let bytes of one
//! response be taken for the next one, which may belong to another client. So what is doubtful is
//! refused: the client gets 502, and the connection is closed (RFC 9112, 6.3).

/// A longer number would not fit 64 bits with certainty.
const MAX_LENGTH_DIGITS: usize = 18;
/// An upstream that sends more interim responses is broken.
pub(super) const MAX_INTERIM: usize = 16;

/// A longer response head is refused.
pub(super) const MAX_HEAD_BYTES: usize = 64 * 1024;

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

/// What the framing depends on, collected from the fields.
#[derive(Default)]
pub(super) struct FramingFields {
    length: Option<u64>,
    chunked: bool,
    /// `Connection` says so.
    pub(super) close: bool,
}

impl FramingFields {
    /// # Errors
    /// When the field can be understood in two ways.
    pub(super) fn note(&mut self, name: &[u8], value: &[u8]) -> Result<(), RefusalReason> {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        match name.len() {
            14 if is("content-length") => {
                if self.length.is_some() {
                    return Err("the response has two Content-Length fields");
                }
                let length = whole_number(value)
                    .ok_or("Content-Length of the response is not a whole number")?;
                self.length = Some(length);
            }
            17 if is("transfer-encoding") => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err("Transfer-Encoding of the response is not chunked");
                }
                self.chunked = true;
            }
            10 if is("connection") => {
                for option in value.split(|&byte| byte == b',') {
                    self.close |= option.trim_ascii().eq_ignore_ascii_case(b"close");
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// `to_head`: the response is to a HEAD request. `old`: it is one of HTTP/1.0.
    ///
    /// # Errors
    /// When the fields contradict each other or the status.
    pub(super) fn framing(
        &self,
        status: u16,
        to_head: bool,
        old: bool,
    ) -> Result<Framing, RefusalReason> {
        if !(100..=599).contains(&status) {
            return Err("the status is out of range");
        }
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

/// A `Content-Length`, of requests too.
pub(super) fn whole_number(value: &[u8]) -> Option<u64> {
    if !(1..=MAX_LENGTH_DIGITS).contains(&value.len()) || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}
