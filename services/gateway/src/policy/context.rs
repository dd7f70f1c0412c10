//! The interface between policies and the phases that run them.

use std::{net::IpAddr, ops::ControlFlow, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, request::Parts};
use quartet_auth::jwt::Claims;
use quartet_common::problem::Problem;

use crate::routing::Route;

/// Continue, or respond with this problem.
pub(crate) type Flow = ControlFlow<Box<Problem>>;

/// A request as policies see it.
pub(crate) struct RequestView<'r> {
    pub(crate) head: &'r Parts,
    pub(crate) route: &'r Route,
    pub(crate) client_ip: IpAddr,
    /// The client asks for a protocol upgrade, such as WebSocket.
    pub(crate) upgrade: bool,
    pub(crate) context: &'r mut PolicyContext,
}

/// What policies remember of a request until its response.
#[derive(Debug, Default)]
pub(crate) struct PolicyContext {
    /// The claims of the verified access token.
    pub(crate) caller: Option<Arc<Claims>>,
    pub(crate) quota: Option<Quota>,
}

/// The state of the limit that counted the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    /// Index into the configuration's limits.
    pub(super) limit: usize,
    pub(super) remaining: u32,
    /// Until at least one more request is allowed.
    pub(super) reset: Duration,
}

/// The head of a response, of an upstream or of the gateway itself.
pub(crate) trait ResponseHead {
    fn set(&mut self, name: HeaderName, value: HeaderValue);
}

/// One concern of every request.
pub(super) trait Policy: Send + Sync {
    fn on_request(&self, request: &mut RequestView<'_>) -> impl Future<Output = Flow> + Send;

    fn on_response(&self, _context: &PolicyContext, _response: &mut dyn ResponseHead) {}
}
