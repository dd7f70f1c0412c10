//! Durations of the Gateway API (GEP-2257), such as `500ms` or `1m30s`.

use std::time::Duration;

const MAX_PARTS: usize = 4;
const MAX_DIGITS: usize = 5;

/// `None`: it is none.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let (mut rest, mut sum, mut parts) = (text, Duration::ZERO, 0);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u32 = rest.get(..digits)?.parse().ok()?;
        let unit = &rest[digits..];
        let length = unit.bytes().take_while(u8::is_ascii_lowercase).count();
        let unit = match &unit[..length] {
            "h" => Duration::from_hours(1),
            "m" => Duration::from_mins(1),
            "s" => Duration::from_secs(1),
            "ms" => Duration::from_millis(1),
            _ => return None,
        };
        parts += 1;
        if digits > MAX_DIGITS || parts > MAX_PARTS {
            return None;
        }
        sum += unit * number;
        rest = &rest[digits + length..];
    }
    (parts > 0).then_some(sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_add_up() {
        for (text, expected_ms) in [
            ("0s", Some(0)),
            ("500ms", Some(500)),
            ("1m30s", Some(90_000)),
            ("1h", Some(3_600_000)),
            ("1h1m1s1ms", Some(3_661_001)),
            ("99999h", Some(359_996_400_000)),
            ("", None),
            ("10", None),
            ("s", None),
            ("1.5s", None),
            ("-1s", None),
            ("1 s", None),
            ("1us", None),
            ("100000s", None),
            ("1s1s1s1s1s", None),
            ("1sé", None),
        ] {
            let expected = expected_ms.map(Duration::from_millis);
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([0-9]{0,6}(h|m|s|ms|é)?){0,6}") {
            let _ = parse(&text);
        }
    }
}
