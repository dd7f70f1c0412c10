//! What policies know of a request.

use std::net::IpAddr;

use http::Method;

use super::{headers::Headers, websocket::WebSocket};

/// A request, borrowed from whichever parser read it.
#[derive(Clone, Copy)]
pub(crate) struct RequestFacts<'r> {
    pub(crate) method: &'r Method,
    /// In its one spelling, without query.
    pub(crate) path: &'r str,
    /// Path and query as the upstream sees them, after a `rewrite`.
    pub(crate) target: &'r [u8],
    /// That was matched.
    pub(crate) host: Option<&'r [u8]>,
    pub(crate) client_ip: IpAddr,
    /// The client's connection is encrypted, by what a trusted proxy says too.
    pub(crate) is_secure: bool,
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
}

impl<'r> RequestFacts<'r> {
    pub(crate) fn capture(&self, name: &str) -> Option<&'r str> {
        self.captures.get(self.path, name)
    }
}
