//! What a client may promise: file names, checksums, sizes.

use std::fmt::Write as _;

use quartet_common::problem::Rule;

const MAX_NAME_BYTES: usize = 255;

/// A name for people: never part of a key or a path.
pub(crate) fn file_name(text: &str) -> Result<String, Rule> {
    let name = text.trim();
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(Rule::new("invalid_length", "must have 1 to 255 bytes"));
    }
    // Also at the ends, where some control characters would count as blanks.
    if text
        .chars()
        .any(|c| c.is_control() || c == '/' || c == '\\')
    {
        return Err(Rule::new(
            "invalid_characters",
            "must not contain control characters, slashes or backslashes",
        ));
    }
    if name == "." || name == ".." {
        return Err(Rule::new("invalid_name", "must not be `.` or `..`"));
    }
    Ok(name.to_owned())
}

/// The bytes behind 64 hexadecimal digits.
pub(crate) fn checksum(text: &str) -> Result<Vec<u8>, Rule> {
    let wrong = || Rule::new("invalid_checksum", "must be 64 hexadecimal digits");
    // `from_str_radix` alone would take a sign.
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong()))
        .collect()
}

/// 64 lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(crate) fn size_bytes(size: u64, max: u64) -> Result<i64, Rule> {
    if size == 0 {
        return Err(Rule::new("too_small", "must be at least 1 byte"));
    }
    if size > max {
        return Err(Rule::new(
            "too_large",
            format!("must be at most {max} bytes"),
        ));
    }
    i64::try_from(size).map_err(|_| Rule::new("too_large", format!("must be at most {max} bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_paths_are_refused() {
        for name in [
            "",
            "  ",
            ".",
            "..",
            "a/b",
            "a\\b",
            "a\u{0}b",
            "a\nb",
            "a\n",
            &"x".repeat(256),
        ] {
            assert!(file_name(name).is_err(), "{name:?}");
        }
        assert_eq!(file_name(" Käse.png ").unwrap(), "Käse.png");
    }

    #[test]
    fn a_checksum_is_64_hexadecimal_digits() {
        let text = "00ff".repeat(16);
        assert_eq!(hex(&checksum(&text).unwrap()), text);
        for wrong in [
            "",
            "00",
            &"zz".repeat(32),
            &"+f".repeat(32),
            &"é".repeat(32),
        ] {
            assert!(checksum(wrong).is_err(), "{wrong}");
        }
    }
}
