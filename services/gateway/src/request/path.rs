//! One spelling of a path, made before routing.
//!
//! The gateway and its upstreams must read a path in the same way: a route that requires a token is
//! worth nothing if `/%73ecret`, `/x/..;/secret` or `//secret` match a laxer route and reach the same
//! resource. So every path is decoded and checked once; the result is matched against the routes and
//! is what the upstream receives.
//!
//! | in the path | what happens |
//! |---|---|
//! | percent-encoded unreserved characters (RFC 3986, 2.3) | decoded: `%73` is `s`, `%2e` is `.` |
//! | other percent-encoded characters | stay encoded, with upper-case digits |
//! | `[`, `]`, `\|` | encoded: browsers send them as they are |
//! | `//` | merged into `/` |
//! | `.` and `..` segments, also with `;parameters` | refused |
//! | encoded `/`; a `;` | refused: some upstreams resolve these before they match |
//! | a `\`, encoded or not; control characters | refused |
//! | characters that a path cannot have, broken percent-encoding | refused |
//!
//! A route with `raw_path = true` accepts encoded slashes and `;`, and forwards such a path as it was
//! sent, but only if every reading of it ([`readings`]) leads to the same route: an exception for
//! object keys must not become a way around another route.

use std::borrow::Cow;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathError {
    NotAbsolute,
    InvalidByte,
    InvalidEncoding,
    Control,
    Backslash,
    DotSegment,
    EncodedSlash,
    Parameters,
}

impl PathError {
    /// Whether a route may opt out of this rule.
    pub(crate) fn may_be_raw(self) -> bool {
        matches!(self, Self::EncodedSlash | Self::Parameters)
    }

    /// Stable name of the rule.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::NotAbsolute => "not_absolute",
            Self::InvalidByte => "invalid_character",
            Self::InvalidEncoding => "invalid_encoding",
            Self::Control => "control_character",
            Self::Backslash => "backslash",
            Self::DotSegment => "dot_segment",
            Self::EncodedSlash => "encoded_slash",
            Self::Parameters => "semicolon",
        }
    }

    pub(crate) fn rule(self) -> &'static str {
        match self {
            Self::NotAbsolute => "must begin with a slash",
            Self::InvalidByte => {
                "must consist of the characters of RFC 3986; others must be percent-encoded"
            }
            Self::InvalidEncoding => "must have two hexadecimal digits after each percent sign",
            Self::Control => "must not contain a control character, encoded or not",
            Self::Backslash => "must not contain a backslash, encoded or not",
            Self::DotSegment => {
                "must not contain the segments `.` and `..`, however they are written"
            }
            Self::EncodedSlash => "must not contain an encoded slash",
            Self::Parameters => "must not contain a semicolon",
        }
    }
}

/// The path as it is matched against routes and as it is forwarded.
///
/// # Errors
/// The first rule that it breaks.
pub(crate) fn path(raw: &str) -> Result<Cow<'_, str>, PathError> {
    if raw.as_bytes().first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    if is_plain(raw.as_bytes()) {
        return Ok(Cow::Borrowed(raw));
    }
    let mut first = None;
    let decoded = decode(raw, &mut |refused| {
        first.get_or_insert(refused);
    })?;
    first.map_or(Ok(Cow::Owned(decoded)), Err)
}

/// Every way in which an upstream may read a path with encoded slashes or parameters: each of the
/// two resolved or not. The last one resolves both; nothing that the standards allow goes further,
/// because dot segments, backslashes and control characters are refused here as well.
///
/// # Errors
/// The first rule that it breaks and no route may opt out of.
pub(crate) fn readings(raw: &str) -> Result<[String; 4], PathError> {
    if raw.as_bytes().first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    let literal = decode(raw, &mut |_| {})?;
    let slashes = literal.replace("%2F", "/");
    Ok([
        without_parameters(&literal)?,
        merged(&slashes)?,
        literal,
        without_parameters(&slashes)?,
    ])
}

fn without_parameters(path: &str) -> Result<String, PathError> {
    let names = path
        .split('/')
        .map(|s| s.split(';').next().unwrap_or_default());
    merged(&names.collect::<Vec<_>>().join("/"))
}

/// Without empty segments.
fn merged(path: &str) -> Result<String, PathError> {
    let mut merged = String::with_capacity(path.len());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        if is_dots(segment) {
            return Err(PathError::DotSegment);
        }
        merged.push('/');
        merged.push_str(segment);
    }
    if merged.is_empty() || path.ends_with('/') {
        merged.push('/');
    }
    Ok(merged)
}

/// Nothing to decode, merge or refuse. The common case, one pass and no allocation.
fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    for &byte in path {
        let dot_segment = byte == b'.' && before == b'/';
        if !CLASS[usize::from(byte)] || (byte == b'/' && before == b'/') || dot_segment {
            return false;
        }
        before = byte;
    }
    true
}

/// Characters that appear in a path as they are and mean nothing else.
const CLASS: [bool; 256] = {
    let mut class = [false; 256];
    let plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/!$&'()*+,=:@";
    let mut at = 0;
    while at < plain.len() {
        class[plain[at] as usize] = true;
        at += 1;
    }
    class
};

fn decode(raw: &str, relaxed: &mut dyn FnMut(PathError)) -> Result<String, PathError> {
    let bytes = raw.as_bytes();
    let mut out = String::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        at += 1;
        match byte {
            b'/' => {
                end_segment(&out)?;
                if !out.ends_with('/') {
                    out.push('/');
                }
            }
            b'%' => {
                let value = hex(bytes.get(at)).zip(hex(bytes.get(at + 1)));
                let (high, low) = value.ok_or(PathError::InvalidEncoding)?;
                at += 2;
                encoded((high << 4) | low, &mut out, relaxed)?;
            }
            b';' => {
                relaxed(PathError::Parameters);
                out.push(';');
            }
            b'\\' => return Err(PathError::Backslash),
            0..=0x1f | 0x7f => return Err(PathError::Control),
            // Browsers send these as they are.
            b'[' | b']' | b'|' => push_encoded(byte, &mut out),
            _ if CLASS[usize::from(byte)] => out.push(char::from(byte)),
            _ => return Err(PathError::InvalidByte),
        }
    }
    end_segment(&out)?;
    Ok(out)
}

fn encoded(
    value: u8,
    out: &mut String,
    relaxed: &mut dyn FnMut(PathError),
) -> Result<(), PathError> {
    match value {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            out.push(char::from(value));
            return Ok(());
        }
        0..=0x1f | 0x7f => return Err(PathError::Control),
        b'\\' => return Err(PathError::Backslash),
        b'/' => relaxed(PathError::EncodedSlash),
        _ => {}
    }
    push_encoded(value, out);
    Ok(())
}

fn push_encoded(value: u8, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(value >> 4)]));
    out.push(char::from(DIGITS[usize::from(value & 15)]));
}

/// Refuses the segment at the end of `out` when an upstream might take it for `.` or `..`. An encoded
/// slash or semicolon ends it too: some decode before they split.
fn end_segment(out: &str) -> Result<(), PathError> {
    let segment = &out[out.rfind('/').map_or(0, |slash| slash + 1)..];
    let before = |text: &'_ str, end: &str| text.find(end).unwrap_or(text.len());
    let dots = segment.split("%2F").any(|part| {
        let name = &part[..before(part, ";").min(before(part, "%3B"))];
        is_dots(name)
    });
    if dots {
        Err(PathError::DotSegment)
    } else {
        Ok(())
    }
}

fn is_dots(name: &str) -> bool {
    name == "." || name == ".."
}

fn hex(byte: Option<&u8>) -> Option<u8> {
    char::from(*byte?)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// The segments that an upstream of the most generous kind reads from a path: everything resolved
/// that some server resolves.
#[cfg(test)]
pub(crate) fn generous(raw: &str) -> Vec<String> {
    let mut text = String::new();
    let mut rest = raw.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let pair = hex(after.first()).zip(hex(after.get(1)));
        let value = pair.filter(|_| byte == b'%');
        text.push(char::from(
            value.map_or(byte, |(high, low)| (high << 4) | low),
        ));
        rest = if value.is_some() { &after[2..] } else { after };
    }
    let mut segments: Vec<String> = Vec::new();
    for segment in text.replace('\\', "/").split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name.to_owned()),
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_spelling_has_one_canonical_form_or_is_refused() {
        use PathError::{
            Backslash, Control, DotSegment, EncodedSlash, InvalidByte, InvalidEncoding,
            NotAbsolute, Parameters,
        };
        let table: &[(&str, Result<&str, PathError>)] = &[
            ("/", Ok("/")),
            ("/secret/x", Ok("/secret/x")),
            ("/%73ecret/x", Ok("/secret/x")),
            ("/%73%65cret/x", Ok("/secret/x")),
            ("//secret/x", Ok("/secret/x")),
            ("/secret//x", Ok("/secret/x")),
            ("/secret/x/", Ok("/secret/x/")),
            ("/secret/x//", Ok("/secret/x/")),
            ("/SECRET/x", Ok("/SECRET/x")),
            ("/a%c3%a9", Ok("/a%C3%A9")),
            ("/a%3Bb", Ok("/a%3Bb")),
            ("/a%20b", Ok("/a%20b")),
            ("/[a]|", Ok("/%5Ba%5D%7C")),
            ("/a%25b", Ok("/a%25b")),
            ("/.well-known/jwks.json", Ok("/.well-known/jwks.json")),
            ("/a.b/...", Ok("/a.b/...")),
            ("/a..b", Ok("/a..b")),
            ("", Err(NotAbsolute)),
            ("x", Err(NotAbsolute)),
            ("*", Err(NotAbsolute)),
            ("/x/../secret", Err(DotSegment)),
            ("/x/./secret", Err(DotSegment)),
            ("/x/..", Err(DotSegment)),
            ("/x/.", Err(DotSegment)),
            ("/x/%2e%2E/secret", Err(DotSegment)),
            ("/x/.%2e/secret", Err(DotSegment)),
            ("/x/..;/secret", Err(DotSegment)),
            ("/x/..;a=b/secret", Err(DotSegment)),
            ("/x/..%3b/secret", Err(DotSegment)),
            ("/x/%2e%2e;/secret", Err(DotSegment)),
            ("/x/..%2fsecret", Err(DotSegment)),
            ("/x%2f..%2fsecret/x", Err(DotSegment)),
            ("/secret%2fx", Err(EncodedSlash)),
            ("/secret%2Fx", Err(EncodedSlash)),
            ("/a\\..\\secret\\x", Err(Backslash)),
            ("/a%5c..%5csecret", Err(Backslash)),
            ("/a%5Cb", Err(Backslash)),
            ("/secret;a=b/x", Err(Parameters)),
            ("/secret;/x", Err(Parameters)),
            ("/a%00b", Err(Control)),
            ("/a%0d%0ab", Err(Control)),
            ("/a%7f", Err(Control)),
            ("/a%", Err(InvalidEncoding)),
            ("/a%4", Err(InvalidEncoding)),
            ("/a%zz", Err(InvalidEncoding)),
            ("/{}", Err(InvalidByte)),
            ("/\"<>^`", Err(InvalidByte)),
            ("/a b", Err(InvalidByte)),
            ("/é", Err(InvalidByte)),
        ];
        for (raw, expected) in table {
            assert_eq!(
                path(raw).as_deref().map_err(|refused| *refused),
                *expected,
                "{raw:?}"
            );
        }
    }

    #[test]
    fn every_reading_of_a_raw_path_shows_where_it_leads() {
        let table = [
            (
                "/files/a%2Fb;v=1//c",
                Ok([
                    "/files/a%2Fb/c",
                    "/files/a/b;v=1/c",
                    "/files/a%2Fb;v=1/c",
                    "/files/a/b/c",
                ]),
            ),
            ("/files%2F..%2Fsecret", Err(PathError::DotSegment)),
            ("/files/..;/secret", Err(PathError::DotSegment)),
            (
                "/%2Fsecret",
                Ok(["/%2Fsecret", "/secret", "/%2Fsecret", "/secret"]),
            ),
            ("/;a", Ok(["/", "/;a", "/;a", "/"])),
        ];
        for (raw, expected) in table {
            let expected = expected.map(|all| all.map(str::to_owned));
            assert_eq!(readings(raw), expected, "{raw:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        /// Whatever is accepted, the most generous upstream reads the same segments from it as the
        /// routes do: no spelling leads elsewhere.
        #[test]
        fn what_is_matched_is_what_an_upstream_reads(raw in "/([a./;%\\\\x]|%2[eEfF]|%5[cC]|%3[bB]|%73|secret|\\.\\.|//){0,12}") {
            if let Ok(canonical) = path(&raw) {
                let plain: Vec<String> = canonical
                    .split('/').filter(|segment| !segment.is_empty())
                    .map(|segment| segment.replace("%3B", ";").split(';').next().unwrap_or_default().to_owned())
                    .collect();
                prop_assert_eq!(generous(&raw), generous(&canonical));
                prop_assert_eq!(path(&canonical), Ok(canonical.clone()), "canonical once is canonical for good");
                // Other encoded bytes stay so, and `generous` decodes them.
                if !canonical.contains('%') { prop_assert_eq!(generous(&raw), plain); }
            }
            if let Ok(readings) = readings(&raw) {
                let furthest = readings[3].split('/').filter(|s| !s.is_empty());
                let furthest: Vec<String> = furthest.map(str::to_owned).collect();
                if !raw.to_ascii_uppercase().contains("%3B") && !readings[3].contains('%') {
                    prop_assert_eq!(generous(&raw), furthest);
                }
            }
        }
    }
}
