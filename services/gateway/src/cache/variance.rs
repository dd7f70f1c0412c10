//! Which requests a stored response answers, as its `Vary` says (RFC 9111, 4.1).

use http::{HeaderMap, HeaderName, header};

use crate::request::{Headers, is_untrusted};

/// More headers in `Vary` are as good as `*`.
const MAX_NAMES: usize = 16;

/// A header that was compared, and its value in the request that was answered.
pub(super) type Compared = (HeaderName, Option<Box<[u8]>>);

/// The headers to compare. `None`: the response answers no other request. So it is with a header
/// that the gateway sets: its value says who the client is.
pub(super) fn names(response: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for value in response.get_all(header::VARY) {
        for item in value.as_bytes().split(|&byte| byte == b',') {
            let item = item.trim_ascii();
            if item.is_empty() {
                continue;
            }
            let name = HeaderName::from_bytes(item).ok().filter(|_| item != b"*")?;
            if is_untrusted(name.as_str().as_bytes()) || names.len() == MAX_NAMES {
                return None;
            }
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    // Some upstreams encode as the client accepts and do not say so.
    if response.contains_key(header::CONTENT_ENCODING) && !names.contains(&header::ACCEPT_ENCODING)
    {
        names.push(header::ACCEPT_ENCODING);
    }
    // Others allow the origin that asks, and do not say so.
    let allowed = response.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    if allowed.is_some_and(|origin| origin != "*") && !names.contains(&header::ORIGIN) {
        names.push(header::ORIGIN);
    }
    Some(names)
}

/// The headers with what the request has for them.
pub(super) fn compared(names: Vec<HeaderName>, request: &dyn Headers) -> Box<[Compared]> {
    let values = names.into_iter().map(|name| {
        let value = value(request, &name);
        (name, value)
    });
    values.collect()
}

pub(super) fn matches(compared: &[Compared], request: &dyn Headers) -> bool {
    compared
        .iter()
        .all(|(name, stored)| value(request, name) == *stored)
}

/// The value. In one spelling only where the header is known to be a list without quotes: an upstream may
/// read two spellings of any other one differently, such as a tenant and the same with a comma, and one
/// client could fill the cache for another.
fn value(request: &dyn Headers, name: &HeaderName) -> Option<Box<[u8]>> {
    request.first(name)?;
    let lines = request.all(name.clone());
    if *name == header::COOKIE {
        // Clients with HTTP/2 may split it, and the upstream gets one (RFC 9113, 8.2.3).
        return Some(lines.collect::<Vec<_>>().join(&b"; "[..]).into());
    }
    if !is_plain_list(name) {
        return Some(lines.collect::<Vec<_>>().join(&b'\n').into());
    }
    let items = lines
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|item| !item.is_empty());
    let items: Vec<&[u8]> = items.collect();
    if *name == header::ACCEPT_ENCODING {
        return Some(codings(items));
    }
    Some(items.join(&b',').into())
}

/// Several fields are one list, and space around commas has no meaning (RFC 9110, 12.5).
fn is_plain_list(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::ACCEPT_CHARSET | header::ACCEPT_ENCODING | header::ACCEPT_LANGUAGE
    )
}

/// Clients list the same codings in many orders. What forbids or prefers something stays as it is.
fn codings(mut items: Vec<&[u8]>) -> Box<[u8]> {
    let is_plain = |item: &&[u8]| {
        item.iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    };
    if items.iter().all(is_plain) {
        items.sort_unstable();
        items.dedup();
    }
    items.join(&b',').to_ascii_lowercase().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::header_map;

    #[test]
    fn the_headers_to_compare_are_those_of_vary() {
        let of = |fields: &[_]| names(&header_map(fields)).map(|names| names.len());
        assert_eq!(of(&[]), Some(0));
        assert_eq!(
            of(&[("vary", "Accept, ,accept,X-A"), ("vary", "x-b")]),
            Some(3)
        );
        for never in [
            "*",
            "accept, *",
            "x-user-id",
            "X-Forwarded-For",
            "a b",
            "x-request-id",
        ] {
            assert_eq!(of(&[("vary", never)]), None, "{never}");
        }
        assert_eq!(of(&[("content-encoding", "gzip")]), Some(1));
    }

    #[test]
    fn values_that_mean_the_same_match() {
        let check = |vary, one: &[_], other: &[_], expected| {
            let names = names(&header_map(&[("vary", vary)])).unwrap();
            let compared = compared(names, &header_map(one));
            assert_eq!(
                matches(&compared, &header_map(other)),
                expected,
                "{one:?} {other:?}"
            );
        };
        let language = "accept-language";
        check(
            language,
            &[(language, "a, b")],
            &[(language, "a"), (language, "b,")],
            true,
        );
        check(language, &[(language, "a,b")], &[(language, "b,a")], false);
        for other in ["a,", ",a", "a,,", "a ,b", "a,b", "\"a, b\""] {
            check("x", &[("x", "a")], &[("x", other)], false);
            check("x", &[("x", "a, b")], &[("x", other)], false);
        }
        check("x", &[("x", "\"a, b\"")], &[("x", "\"a,b\"")], false);
        check("x", &[("x", "a, b")], &[("x", "a"), ("x", "b")], false);
        check(
            "x",
            &[("x", "a"), ("x", "b")],
            &[("x", "a"), ("x", "b")],
            true,
        );
        check("x", &[("x", "a")], &[("x", "A")], false);
        check("x", &[], &[], true);
        check("x", &[], &[("x", "")], false);
        check("x, y", &[("x", "1"), ("y", "2")], &[("x", "1")], false);
        let encoding = "accept-encoding";
        check(
            encoding,
            &[(encoding, "gzip, br")],
            &[(encoding, "BR,gzip")],
            true,
        );
        check(
            encoding,
            &[(encoding, "gzip")],
            &[(encoding, "gzip;q=0")],
            false,
        );
        check(
            encoding,
            &[(encoding, "gzip;q=0, br")],
            &[(encoding, "br, gzip;q=0")],
            false,
        );
        check(
            "cookie",
            &[("cookie", "a=1; b=2")],
            &[("cookie", "a=1"), ("cookie", "b=2")],
            true,
        );
        check(
            "cookie",
            &[("cookie", "a=1; b=2")],
            &[("cookie", "a=1;b=2")],
            false,
        );
    }
}
