//! One range of a stored body (RFC 9110, 14). Requests for several ranges get the whole.

use std::ops::Range;

use super::control::digits;

/// What of a body answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    Range(Range<usize>),
    /// 416.
    Unsatisfiable,
}

/// `range`: the value of `Range`, if the request has one that applies.
pub(crate) fn part(range: Option<&[u8]>, length: usize) -> Part {
    range
        .and_then(|range| requested(range, length))
        .unwrap_or(Part::Whole)
}

/// `None`: it is invalid, of another unit, or several.
fn requested(range: &[u8], length: usize) -> Option<Part> {
    let unit = range.get(..6)?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let spec = range[6..].trim_ascii();
    let dash = memchr::memchr(b'-', spec)?;
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    let number = |text: &[u8]| digits(text).and_then(|number| usize::try_from(number).ok());
    let range = match (first.is_empty(), last.is_empty()) {
        (true, true) => return None,
        (true, false) => {
            let count = number(last)?;
            if count == 0 || length == 0 {
                return Some(Part::Unsatisfiable);
            }
            length.saturating_sub(count)..length
        }
        (false, true) => number(first)?..length,
        (false, false) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(length)
        }
    };
    Some(if range.start >= length {
        Part::Unsatisfiable
    } else {
        Part::Range(range)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        for (range, expected) in [
            ("bytes=0-3", Part::Range(0..4)),
            ("BYTES=2-", Part::Range(2..10)),
            ("bytes=-4", Part::Range(6..10)),
            ("bytes=-40", Part::Range(0..10)),
            ("bytes=9-99999999999999999999", Part::Range(9..10)),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=3-2", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("items=0-3", Part::Whole),
            ("bytes", Part::Whole),
            ("", Part::Whole),
        ] {
            assert_eq!(part(Some(range.as_bytes()), 10), expected, "{range}");
        }
        assert_eq!(part(Some(b"bytes=0-"), 0), Part::Unsatisfiable);
        assert_eq!(part(None, 10), Part::Whole);
    }
}
