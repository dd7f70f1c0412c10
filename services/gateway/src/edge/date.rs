//! The `Date` of an origin, in spite of pingora.
//!
//! Caches compute the age of a response from it (RFC 9111, 4.2.3), so that of the origin has to
//! arrive (RFC 9110, 6.6.1). pingora sets its own in every response with HTTP/1, after the last
//! filter. So the response filter leaves the origin's with the connection, and it is put back into
//! the bytes of the next final head. All dates of today's format have one length.

use std::sync::{Mutex, PoisonError};

use http::HeaderValue;

const FIELD: &[u8] = b"\r\ndate: ";
/// As in `Sun, 06 Nov 1994 08:49:37 GMT`.
const LENGTH: usize = 29;

/// What the next final head is to have.
#[derive(Debug, Default)]
pub(super) struct OriginDate(Mutex<Option<HeaderValue>>);

impl OriginDate {
    /// One of another format is left to pingora.
    pub(super) fn set(&self, date: &HeaderValue) {
        if date.len() == LENGTH {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(date.clone());
        }
    }

    pub(super) fn is_set(&mut self) -> bool {
        self.slot().is_some()
    }

    /// The head with the date, if `bytes` begin with a final head.
    pub(super) fn restore(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let is_final = bytes.starts_with(b"HTTP/1.") && bytes.get(9) != Some(&b'1');
        let date = self.slot().take_if(|_| is_final)?;
        let end = memchr::memmem::find(bytes, b"\r\n\r\n")?;
        let mut windows = bytes[..end].windows(FIELD.len());
        let start = windows.position(|window| window.eq_ignore_ascii_case(FIELD))? + FIELD.len();
        let mut head = bytes.to_vec();
        let value = head[..end].get_mut(start..start + LENGTH)?;
        value.copy_from_slice(date.as_bytes());
        Some(head)
    }

    fn slot(&mut self) -> &mut Option<HeaderValue> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    #[test]
    fn the_next_final_head_gets_the_date() {
        let mut date = OriginDate::default();
        let head = "HTTP/1.1 200 OK\r\nDate: Mon, 07 Nov 1994 08:49:37 GMT\r\na: 1\r\n\r\nbody";
        assert_eq!(date.restore(head.as_bytes()), None);
        date.set(&HeaderValue::from_static(ORIGIN));
        assert_eq!(date.restore(b"HTTP/1.1 103 Early Hints\r\n\r\n"), None);
        assert_eq!(date.restore(b"body"), None);
        let restored = date.restore(head.as_bytes()).unwrap();
        assert_eq!(restored, head.replace("Mon, 07", "Sun, 06").into_bytes());
        assert!(!date.is_set());
        assert_eq!(date.restore(head.as_bytes()), None, "only once");
        date.set(&HeaderValue::from_static(ORIGIN));
        let other =
            b"HTTP/1.1 200 OK\r\na: 1\r\n\r\n\r\ndate: Mon, 07 Nov 1994 08:49:37 GMT\r\n\r\n";
        assert_eq!(date.restore(other), None, "not in a body");
        date.set(&HeaderValue::from_static("Sunday, 06-Nov-94 08:49:37 GMT"));
        assert!(!date.is_set());
    }
}
