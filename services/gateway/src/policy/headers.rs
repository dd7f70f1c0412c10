//! Which headers of a client are believed, and what is told to the upstream instead.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::Notes;

pub(crate) static USER_ID: HeaderName = HeaderName::from_static("x-user-id");
pub(crate) static SESSION_ID: HeaderName = HeaderName::from_static("x-session-id");
static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Names that only the gateway may set, as they are once `_` is read as `-`.
const OURS: [&str; 7] = [
    "x-user-id",
    "x-user-email",
    "x-session-id",
    "forwarded",
    "x-real-ip",
    "x-request-id",
    "traceparent",
];
const OUR_PREFIXES: [&str; 2] = ["x-quartet-", "x-forwarded-"];
const LONGEST: usize = 64;

/// Where the request came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) client: IpAddr,
    pub(crate) peer_is_trusted: bool,
    pub(crate) tls: bool,
    pub(crate) host: Option<&'a HeaderValue>,
}

/// Headers that must not reach the upstream as the client sent them.
///
/// Servers that read `X_User_Id` as `X-User-Id` exist, so underscores count as dashes.
pub(crate) fn forged(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .keys()
        .filter(|name| is_ours(name.as_str()))
        .cloned()
        .collect()
}

fn is_ours(name: &str) -> bool {
    if name.len() > LONGEST {
        // Longer than any exact name: only the prefixes can fit.
        return OUR_PREFIXES.iter().any(|prefix| has_prefix(name, prefix));
    }
    OURS.iter()
        .any(|ours| name.len() == ours.len() && has_prefix(name, ours))
        || OUR_PREFIXES.iter().any(|prefix| has_prefix(name, prefix))
}

/// Names in a header map are in lower case already.
fn has_prefix(name: &str, prefix: &str) -> bool {
    name.len() >= prefix.len()
        && name
            .bytes()
            .zip(prefix.bytes())
            .all(|(sent, ours)| sent == ours || (sent == b'_' && ours == b'-'))
}

/// What the upstream is told about the caller and the client.
pub(crate) fn told(notes: &Notes, origin: Origin<'_>, sent: &HeaderMap) -> Told {
    let claims = notes.caller.as_deref();
    let believed = |name: &HeaderName| sent.get(name).filter(|_| origin.peer_is_trusted).cloned();
    let proto = HeaderValue::from_static(if origin.tls { "https" } else { "http" });
    Told {
        user: claims.and_then(|claims| HeaderValue::from_str(&claims.sub).ok()),
        session: claims.and_then(|c| HeaderValue::from_str(c.sid.as_deref()?).ok()),
        client: HeaderValue::from_str(&origin.client.to_string()).ok(),
        proto: believed(&FORWARDED_PROTO).unwrap_or(proto),
        host: believed(&FORWARDED_HOST).or_else(|| origin.host.cloned()),
    }
}

/// Values of the headers that the gateway sets.
#[derive(Debug)]
pub(crate) struct Told {
    user: Option<HeaderValue>,
    session: Option<HeaderValue>,
    client: Option<HeaderValue>,
    proto: HeaderValue,
    host: Option<HeaderValue>,
}

impl Told {
    pub(crate) fn into_headers(self) -> impl Iterator<Item = (&'static HeaderName, HeaderValue)> {
        [
            (&USER_ID, self.user),
            (&SESSION_ID, self.session),
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
    fn forged_headers_are_found_in_every_spelling() {
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
        assert_eq!(forged(&headers).len(), 8);
        for name in [
            "x-user-idea",
            "user-id",
            "accept",
            "x-quartets",
            "forwarded-by",
        ] {
            assert!(!is_ours(name), "{name}");
        }
        assert!(is_ours(&format!("x-quartet-{}", "a".repeat(200))));
    }
}
