//! What policies know of a request.

use std::net::IpAddr;

use http::{HeaderName, Method, header};

use super::{
    headers::{Headers, is_text},
    host::Authority,
    origin::WebOrigin,
    tls::TlsSession,
    websocket::WebSocket,
};

static FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A request, borrowed from whichever parser read it.
#[derive(Clone, Copy)]
pub(crate) struct RequestFacts<'r> {
    pub(crate) method: &'r Method,
    /// In its one spelling, without query.
    pub(crate) path: &'r str,
    /// Path and query as the upstream sees them, after a `rewrite`.
    pub(crate) target: &'r [u8],
    /// Path and query for which the client asked, in their one spelling.
    pub(crate) asked: &'r [u8],
    /// The same as sent, in any form.
    pub(crate) sent_target: &'r [u8],
    /// That was matched.
    pub(crate) host: Option<&'r [u8]>,
    pub(crate) client_ip: IpAddr,
    /// The client's connection is encrypted, by what a trusted proxy says too.
    pub(crate) is_secure: bool,
    /// A trusted proxy has sent it.
    pub(crate) is_of_trusted_proxy: bool,
    /// Of the connection, if it has TLS here.
    pub(crate) tls: Option<&'r TlsSession>,
    /// What a trusted proxy calls the host that the client asked for.
    pub(crate) reported_host: Option<&'r str>,
    pub(crate) websocket: WebSocket,
    /// Of the request target, or of HTTP/2.
    pub(crate) authority: Option<&'r str>,
    pub(crate) headers: &'r dyn Headers,
    /// The segments of the path that the route's pattern names.
    pub(crate) captures: &'r dyn Captures,
}

/// Segments of the path by name.
pub(crate) trait Captures: Sync {
    /// `path` is that of the request.
    fn get<'c>(&'c self, path: &'c str, name: &str) -> Option<&'c str>;

    /// What of the path is behind the prefix of the pattern; all of it, if the pattern has none.
    fn rest<'c>(&self, path: &'c str) -> &'c str;
}

#[cfg(test)]
impl<'r> RequestFacts<'r> {
    /// GET of `/` with these headers.
    pub(crate) fn of_test(headers: &'r dyn Headers) -> Self {
        static GET: Method = Method::GET;
        struct NoCaptures;
        impl Captures for NoCaptures {
            fn get<'c>(&'c self, _path: &'c str, _name: &str) -> Option<&'c str> {
                None
            }

            fn rest<'c>(&self, path: &'c str) -> &'c str {
                path
            }
        }
        Self {
            method: &GET,
            path: "/",
            target: b"/",
            asked: b"/",
            sent_target: b"/",
            host: None,
            client_ip: std::net::Ipv4Addr::LOCALHOST.into(),
            is_secure: false,
            is_of_trusted_proxy: false,
            tls: None,
            reported_host: None,
            websocket: WebSocket::No,
            authority: None,
            headers,
            captures: &NoCaptures,
        }
    }
}

impl<'r> RequestFacts<'r> {
    /// Whether a page of this origin was loaded from the host that the client asked for.
    pub(crate) fn is_of_same_host(&self, origin: &str) -> bool {
        let Some(origin) = WebOrigin::parse(origin) else {
            return false;
        };
        let sent = || std::str::from_utf8(self.headers.first(&header::HOST)?).ok();
        let host = self.reported_host.or_else(sent).or(self.authority);
        let host = host.and_then(Authority::parse);
        let scheme = match origin.scheme {
            // A page that was not encrypted may be anyone's.
            "http" => !self.is_secure,
            "https" => true,
            _ => false,
        };
        scheme && host.is_some_and(|host| origin.is_of(&host))
    }

    /// What the browser says, if it is one that says it, and otherwise the origin of the page. A request
    /// without either is refused: no browser of today leaves out both.
    pub(crate) fn is_same_origin(&self) -> bool {
        let headers = self.headers;
        if let Some(site) = headers.first(&FETCH_SITE) {
            return site == b"same-origin" && headers.nth(&FETCH_SITE, 1).is_none();
        }
        let origin = headers
            .first(&header::ORIGIN)
            .filter(|value| is_text(value));
        let origin = origin.and_then(|value| std::str::from_utf8(value).ok());
        let is_only = headers.nth(&header::ORIGIN, 1).is_none();
        is_only && origin.is_some_and(|origin| self.is_of_same_host(origin))
    }

    pub(crate) fn capture(&self, name: &str) -> Option<&'r str> {
        self.captures.get(self.path, name)
    }
}
