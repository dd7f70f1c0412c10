//! Conditions of requests, and the validators that they are compared with (RFC 9110, 13).

use http::{HeaderMap, StatusCode, header};

use super::date;
use crate::request::Headers;

/// Whether the client has this response already: the answer is 304. Only `If-None-Match` and, without
/// it, `If-Modified-Since`: the others are for the origin.
pub(crate) fn is_not_modified(
    status: StatusCode,
    stored: &HeaderMap,
    request: &dyn Headers,
) -> bool {
    if status != StatusCode::OK {
        return false;
    }
    if request.first(&header::IF_NONE_MATCH).is_some() {
        let Some(etag) = stored.get(header::ETAG) else {
            return request
                .all(header::IF_NONE_MATCH)
                .any(|value| value == b"*");
        };
        return request
            .all(header::IF_NONE_MATCH)
            .any(|value| value.trim_ascii() == b"*" || lists_tag(value, etag.as_bytes()));
    }
    let since = request.first(&header::IF_MODIFIED_SINCE);
    let since = since.and_then(date::parse);
    let modified = stored
        .get(header::LAST_MODIFIED)
        .or(stored.get(header::DATE));
    let modified = modified.and_then(|value| date::parse(value.as_bytes()));
    matches!((since, modified), (Some(since), Some(modified)) if modified <= since)
}

/// Whether a range may be sent: `If-Range` is absent, or names this representation.
pub(crate) fn range_applies(stored: &HeaderMap, request: &dyn Headers) -> bool {
    let Some(condition) = request.first(&header::IF_RANGE) else {
        return true;
    };
    if condition.starts_with(b"\"") || condition.starts_with(b"W/") {
        let etag = stored.get(header::ETAG);
        // The comparison is a strong one.
        return etag
            .is_some_and(|etag| etag.as_bytes() == condition && !condition.starts_with(b"W/"));
    }
    let modified = stored.get(header::LAST_MODIFIED);
    modified.is_some_and(|value| value.as_bytes() == condition && date::parse(condition).is_some())
}

/// A weak comparison with the members of a list.
fn lists_tag(list: &[u8], tag: &[u8]) -> bool {
    let opaque = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
    let wanted = opaque(tag);
    let mut rest = list;
    while let Some(start) = memchr::memchr(b'"', rest) {
        let Some(length) = memchr::memchr(b'"', &rest[start + 1..]) else {
            return false;
        };
        let end = start + length + 2;
        if rest[start..end] == *wanted {
            return true;
        }
        rest = &rest[end..];
    }
    // Some servers leave the quotes out.
    !wanted.starts_with(b"\"")
        && list
            .split(|&byte| byte == b',')
            .any(|item| opaque(item.trim_ascii()) == wanted)
}

/// Whether a 304 is about the stored response (RFC 9111, 4.3.4).
pub(crate) fn confirms(stored: &HeaderMap, not_modified: &HeaderMap) -> bool {
    let strip = |value: &http::HeaderValue| {
        let bytes = value.as_bytes();
        bytes.strip_prefix(b"W/").unwrap_or(bytes).to_vec()
    };
    match (stored.get(header::ETAG), not_modified.get(header::ETAG)) {
        (Some(stored), Some(sent)) => strip(stored) == strip(sent),
        _ => true,
    }
}

/// The stored fields with those of a 304 in their place (RFC 9111, 3.2), but for those by which the stored
/// bytes are read or checked.
pub(crate) fn refreshed(stored: &HeaderMap, not_modified: &HeaderMap) -> HeaderMap {
    let mut headers = stored.clone();
    if !not_modified.contains_key(header::DATE) {
        // It would make the response as old as it was.
        headers.remove(header::DATE);
    }
    let kept = |name: &http::HeaderName| {
        matches!(
            *name,
            header::CONTENT_LENGTH
                | header::CONTENT_ENCODING
                | header::CONTENT_RANGE
                | header::ETAG
        ) && stored.contains_key(name)
            || matches!(name.as_str(), "content-md5" | "content-digest")
    };
    for name in not_modified.keys() {
        if kept(name) || (*name == header::CONTENT_LENGTH) {
            continue;
        }
        headers.remove(name);
        for value in not_modified.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::header_map;

    const EARLY: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    #[test]
    fn a_client_that_has_the_response_gets_304() {
        let stored = header_map(&[("etag", "\"a,b\""), ("last-modified", AT)]);
        for (name, value, expected) in [
            ("if-none-match", "\"a,b\"", true),
            ("if-none-match", "W/\"a,b\"", true),
            ("if-none-match", "\"x\", \"a,b\"", true),
            ("if-none-match", "\"x\",W/\"a,b\"", true),
            ("if-none-match", "*", true),
            ("if-none-match", "\"a\"", false),
            ("if-none-match", "a,b", false),
            ("if-none-match", "\"a,b", false),
            ("if-modified-since", AT, true),
            ("if-modified-since", EARLY, false),
            ("if-modified-since", "x", false),
            ("if-match", "\"a,b\"", false),
        ] {
            let found = is_not_modified(StatusCode::OK, &stored, &header_map(&[(name, value)]));
            assert_eq!(found, expected, "{name}: {value}");
        }
        let both = header_map(&[("if-none-match", "\"x\""), ("if-modified-since", AT)]);
        assert!(!is_not_modified(StatusCode::OK, &stored, &both));
        let weak = header_map(&[("etag", "W/\"1\"")]);
        let request = header_map(&[("if-none-match", "\"1\"")]);
        assert!(is_not_modified(StatusCode::OK, &weak, &request));
        assert!(!is_not_modified(StatusCode::NOT_FOUND, &weak, &request));
        assert!(!is_not_modified(StatusCode::OK, &header_map(&[]), &request));
    }

    #[test]
    fn a_range_of_another_representation_is_not_sent() {
        let stored = header_map(&[("etag", "\"a\""), ("last-modified", AT)]);
        for (value, expected) in [
            ("\"a\"", true),
            ("W/\"a\"", false),
            ("\"b\"", false),
            (AT, true),
            (EARLY, false),
        ] {
            assert_eq!(
                range_applies(&stored, &header_map(&[("if-range", value)])),
                expected
            );
        }
        assert!(range_applies(&stored, &header_map(&[])));
        let weak = header_map(&[("etag", "W/\"a\"")]);
        assert!(!range_applies(
            &weak,
            &header_map(&[("if-range", "W/\"a\"")])
        ));
    }

    #[test]
    fn a_304_changes_what_is_not_of_the_bytes() {
        let stored = header_map(&[
            ("etag", "\"a\""),
            ("content-md5", "stored"),
            ("content-type", "a/b"),
            ("x", "1"),
            ("y", "1"),
        ]);
        let sent = header_map(&[
            ("etag", "W/\"a\""),
            ("content-digest", "of an empty body"),
            ("content-md5", "sent"),
            ("content-type", "c/d"),
            ("content-length", "0"),
            ("x", "2"),
        ]);
        assert!(confirms(&stored, &sent));
        assert!(!confirms(&stored, &header_map(&[("etag", "\"b\"")])));
        let headers = refreshed(&stored, &sent);
        let expected = header_map(&[
            ("etag", "\"a\""),
            ("content-md5", "stored"),
            ("content-type", "c/d"),
            ("x", "2"),
            ("y", "1"),
        ]);
        assert_eq!(headers, expected);
    }
}
