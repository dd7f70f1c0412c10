//! Which headers of a client are trusted, and what replaces the others.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::request::{host::Authority, is_untrusted};

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Where the request came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) client_ip: IpAddr,
    pub(crate) peer_is_trusted: bool,
    pub(crate) tls: bool,
    pub(crate) host: Option<&'a HeaderValue>,
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

/// What the upstream learns about the client.
pub(crate) fn forwarded_headers(origin: Origin<'_>, sent: &HeaderMap) -> ForwardedHeaders {
    let trusted = |name: &HeaderName| sent.get(name).filter(|_| origin.peer_is_trusted).cloned();
    let proto = HeaderValue::from_static(if origin.tls { "https" } else { "http" });
    ForwardedHeaders {
        client: HeaderValue::from_str(&origin.client_ip.to_string()).ok(),
        proto: trusted(&FORWARDED_PROTO)
            .filter(|proto| proto == "http" || proto == "https")
            .unwrap_or(proto),
        host: trusted(&FORWARDED_HOST)
            .and_then(|host| canonical(&host))
            .or_else(|| canonical(origin.host?)),
    }
}

/// The host in its one spelling; `None`: it is none.
fn canonical(host: &HeaderValue) -> Option<HeaderValue> {
    let authority = Authority::parse(host.to_str().ok()?)?;
    if authority.is_spelled(host.as_bytes()) {
        return Some(host.clone());
    }
    HeaderValue::try_from(authority.to_text()).ok()
}

/// Values of the headers that the gateway sets; a missing one is not sent.
#[derive(Debug)]
pub(crate) struct ForwardedHeaders {
    client: Option<HeaderValue>,
    proto: HeaderValue,
    host: Option<HeaderValue>,
}

impl ForwardedHeaders {
    pub(crate) fn into_headers(self) -> impl Iterator<Item = (&'static HeaderName, HeaderValue)> {
        [
            (&FORWARDED_FOR, self.client),
            (&FORWARDED_PROTO, Some(self.proto)),
            (&FORWARDED_HOST, self.host),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_forwarded_in_one_spelling() {
        let host = |sent: &'static str, forwarded: Option<&'static str>, peer_is_trusted| {
            let mut headers = HeaderMap::new();
            if let Some(forwarded) = forwarded {
                headers.insert(&FORWARDED_HOST, HeaderValue::from_static(forwarded));
            }
            let origin = Origin {
                client_ip: [10, 0, 0, 1].into(),
                peer_is_trusted,
                tls: false,
                host: Some(&HeaderValue::from_static(sent)),
            };
            let host = forwarded_headers(origin, &headers).host;
            host.map(|host| host.to_str().unwrap().to_owned())
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
