//! Which headers of a client are trusted, and what replaces the others.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};

use crate::request::{Headers, host::Authority, is_untrusted};

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Where the request came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    /// The client's IP address as text.
    pub(crate) client: &'a str,
    pub(crate) peer_is_trusted: bool,
    pub(crate) tls: bool,
    pub(crate) host: Option<&'a [u8]>,
}

/// Headers that must not reach the upstream as the client sent them.
///
/// Some servers read `X_User_Id` as `X-User-Id`, so underscores are treated as dashes.
pub(crate) fn untrusted_headers(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .keys()
        .filter(|name| is_untrusted(name.as_str().as_bytes()))
        .cloned()
        .collect()
}

/// What the upstream learns about the client; a header without a value is not sent.
pub(crate) fn forwarded_headers<'a>(
    origin: Origin<'a>,
    sent: &'a dyn Headers,
) -> [(&'static HeaderName, Option<Cow<'a, [u8]>>); 3] {
    let trusted = |name: &HeaderName| sent.first(name).filter(|_| origin.peer_is_trusted);
    let proto: &[u8] = if origin.tls { b"https" } else { b"http" };
    let proto = trusted(&FORWARDED_PROTO)
        .filter(|&proto| proto == b"http" || proto == b"https")
        .unwrap_or(proto);
    let host = trusted(&FORWARDED_HOST)
        .and_then(canonical)
        .or_else(|| canonical(origin.host?));
    [
        (&FORWARDED_FOR, Some(origin.client.as_bytes().into())),
        (&FORWARDED_PROTO, Some(proto.into())),
        (&FORWARDED_HOST, host),
    ]
}

/// The host in its one spelling; `None`: it is none.
fn canonical(host: &[u8]) -> Option<Cow<'_, [u8]>> {
    let host = std::str::from_utf8(host).ok()?;
    let authority = Authority::parse(host)?;
    if authority.is_spelled(host) {
        return Some(host.as_bytes().into());
    }
    Some(authority.to_text().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn hosts_are_forwarded_in_one_spelling() {
        let host = |sent: &'static str, forwarded: Option<&'static str>, peer_is_trusted| {
            let mut headers = HeaderMap::new();
            if let Some(forwarded) = forwarded {
                headers.insert(&FORWARDED_HOST, HeaderValue::from_static(forwarded));
            }
            let origin = Origin {
                client: "10.0.0.1",
                peer_is_trusted,
                tls: false,
                host: Some(sent.as_bytes()),
            };
            let [_, _, (_, host)] = forwarded_headers(origin, &headers);
            host.map(|host| String::from_utf8(host.into_owned()).unwrap())
        };
        assert_eq!(host("a.b:80", None, false).as_deref(), Some("a.b:80"));
        assert_eq!(host("A.b.:80", None, false).as_deref(), Some("a.b:80"));
        assert_eq!(host("a:", None, false).as_deref(), Some("a"));
        assert_eq!(host("a", Some("B."), false).as_deref(), Some("a"));
        assert_eq!(host("a", Some("B."), true).as_deref(), Some("b"));
        assert_eq!(host("a", Some("b, c"), true).as_deref(), Some("a"));
        assert_eq!(host("", None, false), None);
    }

    #[test]
    fn identity_headers_are_found_in_every_spelling() {
        let mut headers = HeaderMap::new();
        for name in [
            "x-user-id",
            "x_user_id",
            "x-user_email",
            "x_quartet_anything",
            "x-quartet-role",
            "x_forwarded_for",
            "forwarded",
            "x_request_id",
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        assert_eq!(untrusted_headers(&headers).len(), 8);
        for name in [
            "x-user-idea",
            "user-id",
            "accept",
            "x-quartets",
            "forwarded-by",
        ] {
            assert!(!is_untrusted(name.as_bytes()), "{name}");
        }
        let long = format!("x-quartet-{}", "a".repeat(200));
        assert!(is_untrusted(long.as_bytes()));
    }
}
