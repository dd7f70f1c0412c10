//! Which headers of a client are trusted, and what replaces the others.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, header};

use super::flow::Edit;
use crate::request::{Headers, host::Authority, is_alias, is_untrusted};

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// What the route's `rewrite` has removed from the path.
pub(crate) static FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static FORWARDED: HeaderName = header::FORWARDED;

/// Where the request came from, by what trusted proxies say too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    /// The client's IP address as text.
    pub(crate) client: &'a str,
    pub(crate) is_secure: bool,
    pub(crate) host: Option<&'a [u8]>,
    /// The upstream receives `Forwarded` too.
    pub(crate) sends_forwarded: bool,
}

/// What a trusted proxy says about the connection of its client.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ReportedConnection {
    pub(crate) is_secure: Option<bool>,
    /// In its one spelling.
    pub(crate) host: Option<String>,
}

impl ReportedConnection {
    /// By `X-Forwarded-Proto` and `X-Forwarded-Host`. The request is of a trusted proxy.
    pub(crate) fn by_x_forwarded(sent: &dyn Headers) -> Self {
        Self::of(
            only_value(sent, &FORWARDED_PROTO),
            only_value(sent, &FORWARDED_HOST),
        )
    }

    pub(crate) fn of(proto: Option<&[u8]>, host: Option<&[u8]>) -> Self {
        let is_secure = match proto {
            Some(b"https") => Some(true),
            Some(b"http") => Some(false),
            _ => None,
        };
        let host = host.and_then(canonical).map(Cow::into_owned);
        Self {
            is_secure,
            host: host.and_then(|host| String::from_utf8(host).ok()),
        }
    }
}

/// Of a header that is there twice, one may be the client's.
fn only_value<'h>(sent: &'h dyn Headers, name: &HeaderName) -> Option<&'h [u8]> {
    let value = sent.first(name)?;
    sent.nth(name, 1).is_none().then_some(value)
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
pub(crate) fn forwarded_headers(
    origin: Origin<'_>,
) -> [(&'static HeaderName, Option<Cow<'_, [u8]>>); 4] {
    let proto = if origin.is_secure { "https" } else { "http" };
    let host = origin.host.and_then(canonical);
    let forwarded = origin.sends_forwarded.then(|| {
        forwarded(origin.client, proto, host.as_deref())
            .into_bytes()
            .into()
    });
    [
        (&FORWARDED_FOR, Some(origin.client.as_bytes().into())),
        (&FORWARDED_PROTO, Some(proto.as_bytes().into())),
        (&FORWARDED_HOST, host),
        (&FORWARDED, forwarded),
    ]
}

/// Changes what the upstream receives as policies demand.
pub(crate) fn apply_edits(edits: &[Edit], headers: &mut HeaderMap) {
    for edit in edits {
        apply(edit, headers);
    }
}

fn apply(edit: &Edit, headers: &mut HeaderMap) {
    match edit {
        Edit::Set(name, value) => {
            remove_aliases(headers, name);
            headers.insert(name, value.clone());
        }
        Edit::Remove(name) => {
            remove_aliases(headers, name);
            headers.remove(name);
        }
        Edit::Add(name, value) => {
            headers.append(name, value.clone());
        }
        Edit::SetMissing(name, value) => {
            let is_named =
                |other: &HeaderName| is_alias(other.as_str().as_bytes(), name.as_str().as_bytes());
            if !headers.keys().any(is_named) {
                headers.insert(name, value.clone());
            }
        }
    }
}

/// What the client sent under another spelling must not appear beside, or in place of, what was edited.
fn remove_aliases(headers: &mut HeaderMap, edited: &HeaderName) {
    let edited = edited.as_str().as_bytes();
    let is_other = |name: &&HeaderName| {
        let name = name.as_str().as_bytes();
        name != edited && is_alias(name, edited)
    };
    let aliases: Vec<HeaderName> = headers.keys().filter(is_other).cloned().collect();
    for alias in aliases {
        headers.remove(&alias);
    }
}

/// One element of `Forwarded` (RFC 7239, 4): what proxies before this one said is part of it.
fn forwarded(client: &str, proto: &str, host: Option<&[u8]>) -> String {
    let client = if client.contains(':') {
        format!("\"[{client}]\"")
    } else {
        client.to_owned()
    };
    let host = host.and_then(|host| std::str::from_utf8(host).ok());
    let host = host.map_or(String::new(), |host| format!(";host=\"{host}\""));
    format!("for={client};proto={proto}{host}")
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

    fn origin(host: &str) -> Origin<'_> {
        Origin {
            client: "10.0.0.1",
            is_secure: false,
            host: Some(host.as_bytes()),
            sends_forwarded: false,
        }
    }

    #[test]
    fn hosts_are_forwarded_in_one_spelling() {
        let text = |value: Option<Cow<'_, [u8]>>| {
            value.map(|value| String::from_utf8(value.into_owned()).unwrap())
        };
        for (sent, expected) in [
            ("a.b:80", Some("a.b:80")),
            ("A.b.:80", Some("a.b:80")),
            ("a:", Some("a")),
            ("", None),
            ("b, c", None),
        ] {
            let [_, _, (_, host), (_, forwarded)] = forwarded_headers(origin(sent));
            assert_eq!(text(host).as_deref(), expected, "{sent}");
            assert_eq!(forwarded, None);
        }
        for (client, is_secure, expected) in [
            (
                "192.0.2.1",
                false,
                "for=192.0.2.1;proto=http;host=\"a.b:80\"",
            ),
            (
                "2001:db8::1",
                true,
                "for=\"[2001:db8::1]\";proto=https;host=\"a.b:80\"",
            ),
        ] {
            let origin = Origin {
                client,
                is_secure,
                sends_forwarded: true,
                ..origin("A.b:80")
            };
            let [.., (_, forwarded)] = forwarded_headers(origin);
            assert_eq!(text(forwarded).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_a_proxy_reports_is_believed_if_it_is_said_once() {
        let reported = |fields: &[(&HeaderName, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let known = ReportedConnection::by_x_forwarded(&headers);
            (known.is_secure, known.host)
        };
        let host = |host: &str| (None, Some(host.to_owned()));
        assert_eq!(reported(&[(&FORWARDED_HOST, "B.")]), host("b"));
        assert_eq!(reported(&[(&FORWARDED_HOST, "b, c")]), (None, None));
        assert_eq!(
            reported(&[(&FORWARDED_HOST, "b"), (&FORWARDED_HOST, "c")]),
            (None, None)
        );
        assert_eq!(reported(&[(&FORWARDED_PROTO, "https")]), (Some(true), None));
        assert_eq!(reported(&[(&FORWARDED_PROTO, "http")]), (Some(false), None));
        assert_eq!(reported(&[(&FORWARDED_PROTO, "ftp")]), (None, None));
        let twice = [(&FORWARDED_PROTO, "https"), (&FORWARDED_PROTO, "http")];
        assert_eq!(reported(&twice), (None, None));
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
            "x-email",
            "x-user",
            "x_groups",
            "x-auth-request-email",
            "x-remote_user",
            "remote-user",
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        assert_eq!(untrusted_headers(&headers).len(), 14);
        for name in [
            "x-user-idea",
            "x-users",
            "x-auth-requests",
            "remote",
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
