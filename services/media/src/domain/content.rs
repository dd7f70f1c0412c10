//! Media types: which are allowed, and whether the first bytes of a file match the declared one.

use quartet_common::problem::Rule;

use crate::store::objects::Disposition;

/// Covers every known file signature. Text is checked within the same bytes.
pub(crate) const SAMPLE_BYTES: u64 = 8192;

/// Types that browsers show on the origin of the bucket. All others are saved: some of them would
/// be executed there (SVG, HTML, XML).
const SHOWN: [&str; 15] = [
    "application/pdf",
    "audio/mp4",
    "audio/mpeg",
    "audio/ogg",
    "audio/wav",
    "audio/webm",
    "image/avif",
    "image/gif",
    "image/jpeg",
    "image/png",
    "image/webp",
    "text/plain",
    "video/mp4",
    "video/ogg",
    "video/webm",
];

/// An allowed media type in lower case, without parameters.
pub(crate) fn content_type(text: &str, allowed: &[String]) -> Result<String, Rule> {
    let essence = text.trim().to_ascii_lowercase();
    if allowed.contains(&essence) {
        return Ok(essence);
    }
    Err(Rule::new(
        "content_type_not_allowed",
        format!("must be one of {}", allowed.join(", ")),
    ))
}

/// Type and subtype in lower case, without parameters.
pub(crate) fn essence(content_type: &str) -> String {
    let end = content_type.find(';').unwrap_or(content_type.len());
    content_type[..end].trim().to_ascii_lowercase()
}

/// Whether browsers show the file or save it.
pub(crate) fn disposition(content_type: &str) -> Disposition {
    if SHOWN.contains(&content_type) {
        Disposition::Inline
    } else {
        Disposition::Attachment
    }
}

/// Checks that a file with these first bytes can be of the declared type.
///
/// # Errors
/// The rule `content_mismatch`.
pub(crate) fn check_sample(declared: &str, sample: &[u8]) -> Result<(), Rule> {
    let found = infer::get(sample).map(|kind| kind.mime_type());
    let matches = if is_text(declared) {
        is_utf8_text(sample) && found.is_none_or(is_text)
    } else if infer::is_mime_supported(declared) {
        found.is_some_and(|found| same(declared, found))
    } else {
        // The type has no known signature; the file must at least not have that of another type.
        found.is_none_or(|found| same(declared, found))
    };
    if matches {
        return Ok(());
    }
    let found = found.unwrap_or("an unknown type");
    Err(Rule::new(
        "content_mismatch",
        format!("must be {declared}; the file looks like {found}"),
    ))
}

fn is_text(kind: &str) -> bool {
    kind.starts_with("text/")
        || kind.ends_with("+xml")
        || kind.ends_with("+json")
        || ["application/json", "application/xml", "application/x-sh"].contains(&kind)
}

/// The sample may end within a character.
fn is_utf8_text(sample: &[u8]) -> bool {
    let is_utf8 = match std::str::from_utf8(sample) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none() && error.valid_up_to() > 0,
    };
    is_utf8 && !sample.contains(&0)
}

/// Whether two types share a signature.
fn same(declared: &str, found: &str) -> bool {
    const EQUIVALENT: [(&str, &str); 5] = [
        ("audio/wav", "audio/x-wav"),
        ("audio/ogg", "application/ogg"),
        ("audio/mp4", "video/mp4"),
        ("audio/x-m4a", "audio/m4a"),
        ("video/webm", "video/x-matroska"),
    ];
    declared == found
        || EQUIVALENT
            .iter()
            .any(|(a, b)| (declared, found) == (a, b) || (declared, found) == (b, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";

    #[test]
    fn files_match_their_declared_type_or_are_rejected() {
        check_sample("image/png", PNG).unwrap();
        check_sample("text/plain", "schön".as_bytes()).unwrap();
        check_sample(
            "image/svg+xml",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        )
        .unwrap();
        check_sample("application/json", b"{\"a\": 1}").unwrap();
        check_sample("text/plain", &"ö".as_bytes()[..1]).unwrap_err();
        let mismatched = [
            ("image/png", &b"<html><script>alert(1)</script>"[..]),
            ("image/jpeg", PNG),
            ("text/plain", PNG),
            ("text/csv", b"a,b\0c"),
            ("application/pdf", b"MZ\x90\0"),
            ("application/octet-stream", PNG),
        ];
        for (declared, bytes) in mismatched {
            let rule = check_sample(declared, bytes).unwrap_err();
            assert_eq!(rule.code, "content_mismatch", "{declared}");
        }
    }

    #[test]
    fn a_truncated_character_at_the_end_is_text() {
        check_sample("text/plain", &"aö".as_bytes()[..2]).unwrap();
    }

    #[test]
    fn every_default_type_can_be_detected() {
        let settings = include_str!("../../default.toml");
        let line = settings
            .lines()
            .find(|line| line.starts_with("content_types"))
            .unwrap();
        for kind in line.split('"').skip(1).step_by(2) {
            let known = infer::is_mime_supported(kind) || kind == "audio/wav";
            assert!(is_text(kind) || known, "{kind}");
        }
    }
}
