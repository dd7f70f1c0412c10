//! Values that a client declares: file names, checksums, sizes.

use quartet_common::{problem::Rule, text as characters};

const MAX_NAME_BYTES: usize = 255;
/// Of a SHA-256.
const CHECKSUM_BYTES: usize = 32;

/// A file name, trimmed. For display only: never part of a key or a path.
pub(crate) fn file_name(text: &str) -> Result<String, Rule> {
    let name = text.trim();
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(Rule::new("invalid_length", "must have 1 to 255 bytes"));
    }
    // In the untrimmed text: `trim` would remove some control characters at the ends.
    if text
        .chars()
        .any(|c| characters::is_control(c) || c == '/' || c == '\\')
    {
        return Err(Rule::new(
            "invalid_characters",
            "must not contain control characters, direction marks, slashes or backslashes",
        ));
    }
    if !characters::has_visible(name) {
        let detail = "must contain a visible character";
        return Err(Rule::new("invalid_name", detail));
    }
    if name == "." || name == ".." {
        return Err(Rule::new("invalid_name", "must not be `.` or `..`"));
    }
    Ok(name.to_owned())
}

/// The 32 bytes of 64 hexadecimal digits.
pub(crate) fn checksum(text: &str) -> Result<Vec<u8>, Rule> {
    let invalid = || Rule::new("invalid_checksum", "must be 64 hexadecimal digits");
    let mut bytes = vec![0; CHECKSUM_BYTES];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| invalid())?;
    Ok(bytes)
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
    fn invalid_file_names_are_rejected() {
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
            "a\u{202e}gpj.exe",
            "a\u{200f}",
            "\u{200b}",
            &"x".repeat(256),
        ] {
            assert!(file_name(name).is_err(), "{name:?}");
        }
        assert_eq!(file_name(" Käse.png ").unwrap(), "Käse.png");
    }

    #[test]
    fn a_checksum_is_64_hexadecimal_digits() {
        let text = "00ff".repeat(16);
        assert_eq!(hex::encode(checksum(&text).unwrap()), text);
        for text in [
            "",
            "00",
            &"zz".repeat(32),
            &"+f".repeat(32),
            &"é".repeat(32),
        ] {
            assert!(checksum(text).is_err(), "{text}");
        }
    }
}
