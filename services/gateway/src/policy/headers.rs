//! Which headers of a client are trusted, and what replaces the others.

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
) -> [(&'static HeaderName, Option<&'a [u8]>); 3] {
    let trusted = |name: &HeaderName| sent.first(name).filter(|_| origin.peer_is_trusted);
    let proto: &[u8] = if origin.tls { b"https" } else { b"http" };
    let proto = trusted(&FORWARDED_PROTO)
        .filter(|&proto| proto == b"http" || proto == b"https")
        .unwrap_or(proto);
    let is_host = |host: &&[u8]| {
        let host = std::str::from_utf8(host);
        host.is_ok_and(|host| Authority::parse(host).is_some())
    };
    let host = trusted(&FORWARDED_HOST).filter(is_host).or(origin.host);
    [
        (&FORWARDED_FOR, Some(origin.client.as_bytes())),
        (&FORWARDED_PROTO, Some(proto)),
        (&FORWARDED_HOST, host),
    ]
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

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
