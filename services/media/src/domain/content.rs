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

/// An allowed media type in lower case. Parameters, such as `charset`, are dropped.
pub(crate) fn content_type(text: &str, allowed: &[String]) -> Result<String, Rule> {
    let essence = essence(text);
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
/// Text is checked by its encoding, not by magic bytes: some are two or three letters long, with which a table
/// or a note may well begin (`BMI,`, `ID3`).
///
/// # Errors
/// The rule `content_mismatch`.
pub(crate) fn check_sample(declared: &str, sample: &[u8]) -> Result<(), Rule> {
    let found = infer::get(sample).map(|kind| kind.mime_type());
    let mismatch = |looks: &str| {
        let detail = format!("must be {declared}; the file {looks}");
        Err(Rule::new("content_mismatch", detail))
    };
    if is_text(declared) {
        if is_utf8_text(sample) || (!is_json(declared) && is_windows_1252_text(sample, found)) {
            return Ok(());
        }
        return match found {
            Some(found) if !is_text(found) => mismatch(&format!("looks like {found}")),
            _ if is_json(declared) => mismatch("is not text in UTF-8"),
            _ => mismatch("is not text in UTF-8 or Windows-1252"),
        };
    }
    let matches = if infer::is_mime_supported(declared) {
        found.is_some_and(|found| same(declared, found))
    } else {
        // The type has no known signature; the file must at least not have that of another type.
        found.is_none_or(|found| same(declared, found))
    };
    if matches {
        return Ok(());
    }
    mismatch(&format!(
        "looks like {}",
        found.unwrap_or("an unknown type")
    ))
}

fn is_text(kind: &str) -> bool {
    kind.starts_with("text/")
        || kind.ends_with("+xml")
        || kind.ends_with("+json")
        || ["application/json", "application/xml", "application/x-sh"].contains(&kind)
}

/// JSON is UTF-8 (RFC 8259, 8.1).
fn is_json(kind: &str) -> bool {
    kind == "application/json" || kind.ends_with("+json")
}

/// Text as Windows programs write it in Western Europe: no control characters, mostly ASCII. Formats
/// that are text by design, with a few other bytes to say that they are not, do not count.
fn is_windows_1252_text(sample: &[u8], found: Option<&str>) -> bool {
    const UNDEFINED: [u8; 5] = [0x81, 0x8d, 0x8f, 0x90, 0x9d];
    const NO_TEXT: [&str; 2] = ["application/pdf", "application/postscript"];
    let is_character = |byte: &u8| match byte {
        b'\t' | b'\n' | b'\r' | 0x0c => true,
        byte => !byte.is_ascii_control() && !UNDEFINED.contains(byte),
    };
    let ascii = sample.iter().filter(|byte| byte.is_ascii()).count();
    sample.iter().all(is_character)
        && ascii * 2 > sample.len()
        && found.is_none_or(|found| !NO_TEXT.contains(&found))
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
    fn text_is_checked_by_its_encoding() {
        let latin = |text: &str| -> Vec<u8> {
            text.chars()
                .map(|c| u8::try_from(u32::from(c)).unwrap())
                .collect()
        };
        let accepted: [(&str, Vec<u8>); 10] = [
            ("text/csv", b"BMI,age\n21.5,40\n".to_vec()),
            ("text/csv", b"ID3,ID4\n1,2\n".to_vec()),
            ("text/plain", b"MZ is a signature, too".to_vec()),
            ("text/markdown", b"II. Chapter".to_vec()),
            ("text/plain", b"<html>not shown as such</html>".to_vec()),
            ("text/plain", "\u{feff}with a mark".into()),
            ("text/csv", latin("BMI,Gr\u{f6}\u{df}e\r\n21,5;1,80\r\n")),
            (
                "text/plain",
                [b"price: ".as_slice(), &[0x80], b" 5"].concat(),
            ),
            (
                "application/xml",
                latin("<?xml version='1.0' encoding='ISO-8859-1'?><a>\u{e9}</a>"),
            ),
            ("application/json", "{\"a\": \"\u{f6}\"}".into()),
        ];
        for (declared, bytes) in accepted {
            check_sample(declared, &bytes).unwrap_or_else(|rule| panic!("{bytes:?}: {rule}"));
        }
        let rejected: [(&str, Vec<u8>, &str); 6] = [
            (
                "application/json",
                latin("{\"a\": \"\u{f6}\"}"),
                "is not text in UTF-8",
            ),
            (
                "text/plain",
                vec![0xe4, 0xf6, 0xfc],
                "is not text in UTF-8 or Windows-1252",
            ),
            (
                "text/plain",
                b"ab\x81cdef".to_vec(),
                "is not text in UTF-8 or Windows-1252",
            ),
            (
                "text/plain",
                b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n".to_vec(),
                "looks like application/pdf",
            ),
            (
                "text/csv",
                b"GIF89a\x01\0\x01\0\x80".to_vec(),
                "looks like image/gif",
            ),
            (
                "text/csv",
                b"BM\x46\0\0\0\0\0\0\0".to_vec(),
                "looks like image/bmp",
            ),
        ];
        for (declared, bytes, detail) in rejected {
            let rule = check_sample(declared, &bytes).unwrap_err();
            assert!(rule.detail.ends_with(detail), "{bytes:?}: {rule}");
        }
    }

    #[test]
    fn media_types_are_compared_without_parameters() {
        let allowed = ["text/csv".to_owned()];
        for text in [
            "text/csv",
            " Text/CSV ",
            "text/csv; charset=windows-1252",
            "text/csv;header=present",
        ] {
            assert_eq!(content_type(text, &allowed).unwrap(), "text/csv");
        }
        for text in ["", ";", "text/html", "text/csvx", "text/html; text/csv"] {
            assert!(content_type(text, &allowed).is_err(), "{text}");
        }
    }

    #[test]
    fn only_listed_types_are_shown() {
        for shown in ["image/png", "application/pdf", "video/mp4", "text/plain"] {
            assert_eq!(disposition(shown), Disposition::Inline, "{shown}");
        }
        let saved = [
            "image/svg+xml",
            "text/html",
            "text/xml",
            "application/zip",
            "text/csv",
            "x/y",
        ];
        for saved in saved {
            assert_eq!(disposition(saved), Disposition::Attachment, "{saved}");
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
