//! What a head says of the request's end and of its host.

use quartet_common::problem::Problem;

use crate::error;

/// [`http::HeaderName`] holds no more.
const MAX_NAME_BYTES: usize = 65_535;

/// The headers that say where a request ends and for whom it is.
#[derive(Default)]
pub(super) struct Framing {
    pub(super) length: Option<u64>,
    lengths: u32,
    pub(super) codings: u32,
    hosts: u32,
    pub(super) upgrade: bool,
}

impl Framing {
    /// # Errors
    /// When one of them has an invalid value, or a name is too long.
    pub(super) fn read(headers: &[httparse::Header<'_>]) -> Result<Self, Problem> {
        let mut framing = Self::default();
        for header in headers {
            framing.note(header)?;
        }
        Ok(framing)
    }

    fn note(&mut self, header: &httparse::Header<'_>) -> Result<(), Problem> {
        if header.name.len() > MAX_NAME_BYTES {
            return Err(error::malformed("the name of a header is too long"));
        }
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        match header.name.len() {
            14 if is("content-length") => {
                self.lengths += 1;
                let is_number = header.value.iter().all(u8::is_ascii_digit);
                let text = std::str::from_utf8(header.value).ok().filter(|_| is_number);
                self.length = text.and_then(|text| text.parse().ok());
                if self.length.is_none() {
                    return Err(error::malformed("Content-Length must be a whole number"));
                }
            }
            17 if is("transfer-encoding") => {
                self.codings += 1;
                if !header.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(error::malformed("Transfer-Encoding must be chunked"));
                }
            }
            4 if is("host") => {
                self.hosts += 1;
                if !header.value.iter().all(|&byte| is_authority(byte)) {
                    return Err(error::malformed(
                        "Host must be a host with an optional port",
                    ));
                }
            }
            7 if is("upgrade") => self.upgrade = true,
            _ => {}
        }
        Ok(())
    }

    /// # Errors
    /// When two servers could read them differently (RFC 9112, 6 and 3.2).
    pub(super) fn check(&self, is_http_1_0: bool) -> Result<(), Problem> {
        match (self.lengths, self.codings, self.hosts) {
            (1.., 1.., _) => Err(error::malformed(
                "Content-Length and Transfer-Encoding cannot be combined",
            )),
            (2.., ..) => Err(error::malformed("there must be at most one Content-Length")),
            (_, 2.., _) => Err(error::malformed(
                "there must be at most one Transfer-Encoding",
            )),
            (_, 1, _) if is_http_1_0 => Err(error::malformed(
                "HTTP/1.0 does not support Transfer-Encoding",
            )),
            (_, _, 0) if !is_http_1_0 => Err(error::malformed("the Host header is missing")),
            (_, _, 2..) => Err(error::malformed("there must be exactly one Host header")),
            _ => Ok(()),
        }
    }
}

fn is_authority(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+;=".contains(&byte)
}
