//! Media types: which may come in, and whether the first bytes keep the promise.

use quartet_common::problem::Rule;

/// As many bytes as the signatures need; plain text is judged by them too.
pub(crate) const SAMPLE_BYTES: u64 = 8192;

/// Types that browsers would run as a page of the bucket's host: they are saved, not shown.
const ACTIVE: [&str; 5] = [
    "image/svg+xml",
    "text/html",
    "application/xhtml+xml",
    "text/xml",
    "application/xml",
];

/// The type without parameters, in lower case, if it is allowed.
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

/// Whether the file must be saved rather than shown by browsers.
pub(crate) fn is_active(content_type: &str) -> bool {
    ACTIVE.contains(&content_type)
}

/// Whether a file that begins so can be of the promised type.
pub(crate) fn fits(promised: &str, sample: &[u8]) -> Result<(), Rule> {
    let found = infer::get(sample).map(|kind| kind.mime_type());
    let fits = if is_text(promised) {
        is_utf8_text(sample) && found.is_none_or(is_text)
    } else if infer::is_mime_supported(promised) {
        found.is_some_and(|found| same(promised, found))
    } else {
        // No signature is known for the type: at least it must not be another known one.
        found.is_none_or(|found| same(promised, found))
    };
    if fits {
        return Ok(());
    }
    let found = found.unwrap_or("of no known type");
    Err(Rule::new(
        "content_mismatch",
        format!("must be {promised}; the first bytes of the file are {found}"),
    ))
}

fn is_text(kind: &str) -> bool {
    kind.starts_with("text/")
        || kind.ends_with("+xml")
        || kind.ends_with("+json")
        || ["application/json", "application/xml", "application/x-sh"].contains(&kind)
}

/// The sample may end within a letter.
fn is_utf8_text(sample: &[u8]) -> bool {
    let whole = match std::str::from_utf8(sample) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none() && error.valid_up_to() > 0,
    };
    whole && !sample.contains(&0)
}

/// Names that mean the same signature.
fn same(promised: &str, found: &str) -> bool {
    const ALIKE: [(&str, &str); 5] = [
        ("audio/wav", "audio/x-wav"),
        ("audio/ogg", "application/ogg"),
        ("audio/mp4", "video/mp4"),
        ("audio/x-m4a", "audio/m4a"),
        ("video/webm", "video/x-matroska"),
    ];
    promised == found
        || ALIKE
            .iter()
            .any(|(a, b)| (promised, found) == (a, b) || (promised, found) == (b, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";

    #[test]
    fn promises_are_kept_or_refused() {
        fits("image/png", PNG).unwrap();
        fits("text/plain", "schön".as_bytes()).unwrap();
        fits(
            "image/svg+xml",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        )
        .unwrap();
        fits("application/json", b"{\"a\": 1}").unwrap();
        fits("text/plain", &"ö".as_bytes()[..1]).unwrap_err();
        let broken = [
            ("image/png", &b"<html><script>alert(1)</script>"[..]),
            ("image/jpeg", PNG),
            ("text/plain", PNG),
            ("text/csv", b"a,b\0c"),
            ("application/pdf", b"MZ\x90\0"),
            ("application/octet-stream", PNG),
        ];
        for (promised, bytes) in broken {
            let rule = fits(promised, bytes).unwrap_err();
            assert_eq!(rule.code, "content_mismatch", "{promised}");
        }
    }

    #[test]
    fn a_letter_cut_in_two_at_the_end_is_still_text() {
        fits("text/plain", &"aö".as_bytes()[..2]).unwrap();
    }

    #[test]
    fn every_default_type_can_be_told() {
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
