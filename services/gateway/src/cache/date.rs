//! Dates of HTTP (RFC 9110, 5.6.7).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970, in any of the three forms.
pub(crate) fn parse(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    let at = httpdate::parse_http_date(text).ok()?;
    let since = at.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// In the preferred form. Times outside the years that it has are 1970.
pub(crate) fn format(seconds: i64) -> String {
    const LAST: u64 = 253_402_300_799;
    let seconds = u64::try_from(seconds).ok().filter(|&at| at <= LAST);
    let at: SystemTime = UNIX_EPOCH + Duration::from_secs(seconds.unwrap_or(0));
    httpdate::fmt_http_date(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_and_written() {
        let text = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(parse(text.as_bytes()), Some(784_111_777));
        assert_eq!(parse(b"Sunday, 06-Nov-94 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse(b"Sun Nov  6 08:49:37 1994"), Some(784_111_777));
        assert_eq!(format(784_111_777), text);
        for bad in ["0", "-1", "", "Sun, 06 Nov 1994", "\u{e9}"] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(format(i64::MAX), format(0));
    }
}
