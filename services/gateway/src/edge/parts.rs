//! The heads of pingora as those of the crate `http`.
//!
//! pingora remembers how the name of each header was written: in a second table, which is copied
//! with the head, and with a name made for every header that is set. Names mean the same in any case
//! (RFC 9110, 5.1), so heads are edited without it, and it is gone afterwards.

use std::mem;

use http::{Request, Response, request, response};
use pingora::http::{RequestHeader, ResponseHeader};

/// Does not change the target; for that, pingora has a function.
pub(super) fn edit_request<T>(
    head: &mut RequestHeader,
    edit: impl FnOnce(&mut request::Parts) -> T,
) -> T {
    let url = head.uri.path_and_query();
    // pingora keeps a target that is none beside the URL.
    let is_url = url.is_some_and(|url| url.as_str().as_bytes() == head.raw_path());
    let target = (!is_url).then(|| head.raw_path().to_vec());
    let (empty, ()) = Request::new(()).into_parts();
    let mut parts = mem::replace(head, empty.into()).into();
    let result = edit(&mut parts);
    *head = parts.into();
    if let Some(target) = target {
        // It was accepted before.
        let _ = head.set_raw_path(&target);
    }
    result
}

/// Keeps the reason phrase of the upstream.
pub(super) fn edit_response<T>(
    head: &mut ResponseHeader,
    edit: impl FnOnce(&mut response::Parts) -> T,
) -> T {
    let reason = head.get_reason_phrase();
    let reason = reason.filter(|_| reason != head.status.canonical_reason());
    let reason = reason.map(str::to_owned);
    let (empty, ()) = Response::new(()).into_parts();
    let mut parts = mem::replace(head, empty.into()).into();
    let result = edit(&mut parts);
    *head = parts.into();
    if reason.is_some() {
        // It was accepted before.
        let _ = head.set_reason_phrase(reason.as_deref());
    }
    result
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Version};

    use super::*;

    #[test]
    fn everything_but_the_case_of_names_stays() {
        for target in ["/a?b|", "*", "http://a/b", "/\u{e9}"] {
            let mut head = RequestHeader::build("PUT", target.as_bytes(), None).unwrap();
            head.set_version(Version::HTTP_10);
            head.append_header("X-A", "1").unwrap();
            head.append_header("x-a", "2").unwrap();
            edit_request(&mut head, |parts| {
                parts.headers.insert("x-b", HeaderValue::from_static("3"));
            });
            assert_eq!(head.raw_path(), target.as_bytes());
            assert_eq!(
                (head.method.as_str(), head.version),
                ("PUT", Version::HTTP_10)
            );
            assert_eq!(head.headers.get_all("x-a").iter().count(), 2);
            assert_eq!(head.headers["x-b"], "3");
            assert!(!head.has_case());
        }
        for reason in [None, Some("Fine")] {
            let mut head = ResponseHeader::build(201, None).unwrap();
            head.set_reason_phrase(reason).unwrap();
            edit_response(&mut head, |parts| {
                parts.headers.insert("x-b", HeaderValue::from_static("3"));
            });
            assert_eq!(head.get_reason_phrase(), reason.or(Some("Created")));
            assert_eq!(
                (head.status.as_u16(), &head.headers["x-b"]),
                (201, &HeaderValue::from_static("3"))
            );
        }
    }
}
