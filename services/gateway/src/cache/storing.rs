//! Whether a response may be stored (RFC 9111, 3), and what of it.

use http::{HeaderMap, HeaderName, StatusCode, header};

use crate::request::Headers;

use super::{
    control::{RequestControl, ResponseControl},
    freshness::{self, Defaults, Times},
};

/// More or longer tags than these are not looked up; such a response is not stored.
const MAX_TAGS: usize = 128;
const MAX_TAG_BYTES: usize = 256;

/// The request that a response answers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) control: RequestControl,
    /// It has `Authorization`, or its caller is known by other means.
    pub(crate) authorized: bool,
    /// It has cookies that are not part of the key.
    pub(crate) has_unlisted_cookies: bool,
}

/// Whether the response may answer other requests. Its request was a GET.
pub(super) fn is_allowed(
    status: StatusCode,
    headers: &HeaderMap,
    control: &ResponseControl,
    times: &Times,
    asked: &Asked,
    strip_set_cookie: bool,
    defaults: &Defaults,
) -> bool {
    let understood = is_understood(status);
    let no_store = control.no_store && !(control.must_understand && understood);
    let refused = asked.control.no_store
        || no_store
        || control.private
        || (control.must_understand && !understood)
        || (asked.authorized && !control.allows_authorized())
        || (headers.contains_key(header::SET_COOKIE) && !strip_set_cookie)
        || status.is_informational()
        || matches!(
            status,
            StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED
        )
        || is_of_one_request(status);
    !refused
        && (is_explicit(status, headers, control)
            || is_by_default(status, headers, asked, defaults))
        && is_useful(headers, control, times)
}

/// Something says that it may be reused (RFC 9111, 3).
fn is_explicit(status: StatusCode, headers: &HeaderMap, control: &ResponseControl) -> bool {
    control.max_age.is_some()
        || control.s_maxage.is_some()
        || (headers.contains_key(header::EXPIRES) && !control.targeted)
        || control.public
        || (control.no_cache && freshness::is_heuristic(status))
}

/// The settings say so in place of the response. What was sent to a client with cookies may be for that
/// client alone, unless the cookies part the responses.
fn is_by_default(
    status: StatusCode,
    headers: &HeaderMap,
    asked: &Asked,
    defaults: &Defaults,
) -> bool {
    let has_defaults = defaults.ttl_seconds > 0 || defaults.max_heuristic_seconds > 0;
    let is_parted =
        !asked.has_unlisted_cookies || (headers as &dyn Headers).lists(header::VARY, "cookie");
    has_defaults && is_parted && freshness::is_heuristic(status)
}

/// Statuses that are about one client or its connection, whatever the response says: RFC 6585 (3 to
/// 6), RFC 8470 (5.2), RFC 9110 (15.5.8, 15.5.9 and 15.5.20).
fn is_of_one_request(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        407 | 408 | 421 | 425 | 428 | 429 | 431 | 511
    )
}

/// It will be fresh, or can be revalidated, or used while it is stale.
fn is_useful(headers: &HeaderMap, control: &ResponseControl, times: &Times) -> bool {
    let has_validator =
        headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED);
    let fresh = times.lifetime > 0 && !control.no_cache;
    let stale = times.stale_while_revalidate > 0 || times.stale_if_error > 0;
    has_validator || fresh || (stale && !control.forbids_stale())
}

/// Statuses whose caching this cache knows (RFC 9111, 5.2.2.3).
fn is_understood(status: StatusCode) -> bool {
    freshness::is_heuristic(status)
        || matches!(
            status.as_u16(),
            302 | 303 | 307 | 400 | 403 | 500 | 502 | 503 | 504
        )
}

/// Fields that concern one response, or the connection it came on.
fn is_dropped(name: &HeaderName) -> bool {
    const DROPPED: [&str; 12] = [
        "age",
        "connection",
        "content-length",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "set-cookie",
    ];
    DROPPED.contains(&name.as_str()) || matches!(name.as_str(), "x-request-id" | "traceparent")
}

/// The fields to store.
pub(super) fn stored_fields(headers: &HeaderMap) -> HeaderMap {
    let nominated: Vec<&[u8]> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .collect();
    let is_nominated = |name: &HeaderName| {
        let name = name.as_str().as_bytes();
        nominated
            .iter()
            .any(|other| other.eq_ignore_ascii_case(name))
    };
    let fields = headers.iter();
    fields
        .filter(|(name, _)| !is_dropped(name) && !is_nominated(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// The tags of a response. `None`: there are too many.
pub(super) fn tags(headers: &HeaderMap, names: &[HeaderName]) -> Option<Box<[Box<str>]>> {
    let mut tags: Vec<Box<str>> = Vec::new();
    for value in names.iter().flat_map(|name| headers.get_all(name)) {
        let separates = |byte: &u8| matches!(byte, b',' | b' ' | b'\t');
        for tag in value.as_bytes().split(separates) {
            if tag.is_empty() {
                continue;
            }
            let tag = std::str::from_utf8(tag).ok()?;
            if tags.len() == MAX_TAGS || tag.len() > MAX_TAG_BYTES {
                return None;
            }
            tags.push(tag.into());
        }
    }
    Some(tags.into())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::request::header_map;

    const NOW: i64 = 1_700_000_000;

    fn allowed(status: u16, fields: &[(&'static str, &'static str)], asked: Asked) -> bool {
        let (headers, status) = (header_map(fields), StatusCode::from_u16(status).unwrap());
        let control = ResponseControl::of(&headers, &[]);
        let defaults = Defaults::default();
        let times = Times::of(status, &headers, &control, &defaults, (NOW, NOW));
        is_allowed(status, &headers, &control, &times, &asked, false, &defaults)
    }

    #[test]
    fn what_may_be_stored() {
        let cc = |text| [("cache-control", text)];
        for (status, fields, expected) in [
            (200, &cc("max-age=1")[..], true),
            (200, &cc("s-maxage=1"), true),
            (200, &[("expires", "Sat, 06 Nov 2094 08:49:37 GMT")], true),
            (200, &[], false),
            (200, &[("etag", "\"a\"")], false),
            (
                200,
                &[("etag", "\"a\""), ("cache-control", "no-cache")],
                true,
            ),
            (200, &cc("no-cache"), false),
            (200, &cc("max-age=0"), false),
            (200, &cc("max-age=0, stale-while-revalidate=5"), true),
            (200, &cc("max-age=0, stale-if-error=5"), true),
            (
                200,
                &cc("max-age=0, stale-if-error=5, must-revalidate"),
                false,
            ),
            (
                200,
                &[("etag", "\"a\""), ("cache-control", "max-age=0")],
                true,
            ),
            (200, &cc("max-age=1, no-store"), false),
            (200, &cc("max-age=1, private"), false),
            (200, &cc("max-age=1, private=\"x\""), false),
            (200, &cc("max-age=1, no-store, must-understand"), true),
            (299, &cc("max-age=1, no-store, must-understand"), false),
            (299, &cc("max-age=1, must-understand"), false),
            (299, &cc("max-age=1"), true),
            (206, &cc("max-age=1"), false),
            (304, &cc("max-age=1"), false),
            (404, &cc("max-age=1"), true),
            (503, &cc("max-age=1"), true),
            (400, &cc("max-age=1"), true),
            (407, &cc("max-age=1, public"), false),
            (408, &cc("max-age=1, public"), false),
            (421, &cc("max-age=1, public"), false),
            (425, &cc("max-age=1, public"), false),
            (428, &cc("max-age=1, public"), false),
            (429, &cc("max-age=1, public"), false),
            (431, &cc("max-age=1, public"), false),
            (511, &cc("max-age=1, public"), false),
            (
                200,
                &[("set-cookie", "a=1"), ("cache-control", "max-age=1")],
                false,
            ),
        ] {
            assert_eq!(
                allowed(status, fields, Asked::default()),
                expected,
                "{status} {fields:?}"
            );
        }
    }

    #[test]
    fn a_response_to_an_authorized_request_must_say_that_it_is_for_all() {
        let asked = Asked {
            authorized: true,
            ..Asked::default()
        };
        for (text, expected) in [
            ("max-age=1", false),
            ("max-age=1, public", true),
            ("s-maxage=1", true),
            ("max-age=1, must-revalidate", true),
            ("max-age=1, public, private", false),
        ] {
            assert_eq!(
                allowed(200, &[("cache-control", text)], asked),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn fields_of_one_connection_are_not_stored() {
        let headers = header_map(&[
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("set-cookie", "a=1"),
            ("age", "3"),
            ("content-length", "3"),
            ("x-request-id", "1"),
            ("etag", "\"a\""),
        ]);
        assert_eq!(stored_fields(&headers), header_map(&[("etag", "\"a\"")]));
    }

    #[test]
    fn tags_are_bounded() {
        let names = [
            HeaderName::from_static("cache-tag"),
            HeaderName::from_static("surrogate-key"),
        ];
        let found = tags(
            &header_map(&[("cache-tag", "a, b,,c"), ("surrogate-key", "d e")]),
            &names,
        );
        assert_eq!(found.unwrap().join("|"), "a|b|c|d|e");
        let mut many = HeaderMap::new();
        let text = "t ".repeat(MAX_TAGS + 1);
        many.insert("surrogate-key", HeaderValue::try_from(text).unwrap());
        assert_eq!(tags(&many, &names), None);
    }
}
