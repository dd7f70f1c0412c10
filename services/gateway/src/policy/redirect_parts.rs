//! Answers every request of a route from an object of a cluster with a redirect.
//!
//! What the object leaves open is taken from the request: its scheme, its host, its path and its query.

use bytes::Bytes;
use http::{HeaderValue, header};

use super::context::Flow;
use crate::{
    error,
    reply::{GatewayResponse, Reply},
    request::{RequestFacts, RequestTarget, host::Authority},
    routing::{RedirectParts, RedirectPath},
};

const WELL_KNOWN: [u16; 2] = [80, 443];

#[derive(Debug)]
pub(super) struct PartsRedirect(RedirectParts);

impl PartsRedirect {
    pub(super) fn new(parts: RedirectParts) -> Self {
        Self(parts)
    }

    pub(super) fn on_request(&self, facts: &RequestFacts<'_>) -> Flow {
        let asked = std::str::from_utf8(facts.asked).unwrap_or_default();
        let query = RequestTarget::split(asked).query;
        let host = facts.reported_host.map(str::as_bytes).or(facts.host);
        let sent = Sent {
            is_secure: facts.is_secure,
            host: host.and_then(|host| std::str::from_utf8(host).ok()),
            path: facts.path,
            rest: facts.captures.rest(facts.path),
            query,
        };
        let location = location(&self.0, &sent);
        let Some(location) = location.and_then(|it| HeaderValue::try_from(it).ok()) else {
            let problem = error::malformed("the request has no host and path to redirect to");
            return Flow::Reply(problem.into());
        };
        let reply = Reply::ok(HeaderValue::from_static("text/plain"), Bytes::new())
            .status(self.0.status)
            .header(header::LOCATION, location);
        Flow::Reply(Box::new(GatewayResponse::Reply(reply)))
    }
}

/// What of a request a redirect may keep.
struct Sent<'r> {
    is_secure: bool,
    /// With its port.
    host: Option<&'r str>,
    path: &'r str,
    /// Of the path, behind the prefix that matched.
    rest: &'r str,
    /// With its question mark.
    query: &'r str,
}

/// `None`: there is no host.
fn location(parts: &RedirectParts, sent: &Sent<'_>) -> Option<String> {
    let is_secure = parts.is_secure.unwrap_or(sent.is_secure);
    let scheme = if is_secure { "https" } else { "http" };
    let host = match &parts.host {
        Some(host) => host.clone(),
        None => sent.host.and_then(Authority::parse)?.host.into_owned(),
    };
    if host.is_empty() {
        return None;
    }
    let port = match (parts.port, parts.is_secure) {
        (Some(port), _) => port,
        (None, Some(is_secure)) => WELL_KNOWN[usize::from(is_secure)],
        (None, None) => parts.own_ports[usize::from(sent.is_secure)],
    };
    let port = if port == WELL_KNOWN[usize::from(is_secure)] {
        String::new()
    } else {
        format!(":{port}")
    };
    let path = match &parts.path {
        RedirectPath::Kept => sent.path.to_owned(),
        RedirectPath::Full(path) => path.clone(),
        RedirectPath::Prefix(prefix) => match (prefix.trim_end_matches('/'), sent.rest) {
            ("", "") => "/".to_owned(),
            (prefix, rest) => format!("{prefix}{rest}"),
        },
    };
    let query = sent.query;
    path.starts_with('/')
        .then(|| format!("{scheme}://{host}{port}{path}{query}"))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn parts() -> RedirectParts {
        RedirectParts {
            is_secure: None,
            host: None,
            port: None,
            own_ports: [80, 443],
            path: RedirectPath::Kept,
            status: StatusCode::FOUND,
        }
    }

    fn at(parts: &RedirectParts, is_secure: bool, host: &str, path: &str) -> Option<String> {
        let sent = Sent {
            is_secure,
            host: Some(host),
            path,
            rest: path.strip_prefix("/old").unwrap_or(path),
            query: "?q=1",
        };
        location(parts, &sent)
    }

    /// The table of the specification for scheme and port.
    #[test]
    fn scheme_and_port_are_those_that_are_named_or_known() {
        for (secure, scheme, port, own, expected) in [
            (false, None, None, 80, "http://a.test/p?q=1"),
            (false, None, Some(80), 80, "http://a.test/p?q=1"),
            (false, None, Some(8080), 80, "http://a.test:8080/p?q=1"),
            (false, None, None, 8080, "http://a.test:8080/p?q=1"),
            (false, Some(true), None, 8080, "https://a.test/p?q=1"),
            (false, Some(true), Some(443), 80, "https://a.test/p?q=1"),
            (
                false,
                Some(true),
                Some(8443),
                80,
                "https://a.test:8443/p?q=1",
            ),
            (true, None, None, 80, "https://a.test/p?q=1"),
            (true, None, Some(8443), 80, "https://a.test:8443/p?q=1"),
            (true, Some(false), None, 80, "http://a.test/p?q=1"),
            (
                true,
                Some(false),
                Some(8080),
                80,
                "http://a.test:8080/p?q=1",
            ),
        ] {
            let parts = RedirectParts {
                is_secure: scheme,
                port,
                own_ports: [own, 443],
                ..parts()
            };
            let location = at(&parts, secure, "A.test:1234", "/p");
            assert_eq!(location.as_deref(), Some(expected), "{parts:?}");
        }
    }

    #[test]
    fn paths_are_kept_or_replaced_with_their_query() {
        let prefix = |to: &str| RedirectPath::Prefix(to.to_owned());
        for (path, sent, expected) in [
            (RedirectPath::Kept, "/old/x", "/old/x"),
            (RedirectPath::Full("/new".to_owned()), "/old/x", "/new"),
            (prefix("/new"), "/old/x", "/new/x"),
            (prefix("/new/"), "/old/x", "/new/x"),
            (prefix("/new"), "/old", "/new"),
            (prefix("/new"), "/old/", "/new/"),
            (prefix("/"), "/old/x", "/x"),
            (prefix("/"), "/old", "/"),
        ] {
            let parts = RedirectParts { path, ..parts() };
            let location = at(&parts, false, "a.test", sent);
            assert_eq!(location, Some(format!("http://a.test{expected}?q=1")));
        }
        assert_eq!(at(&parts(), false, "", "/"), None);
        assert_eq!(at(&parts(), false, "a b", "/"), None);
    }
}
