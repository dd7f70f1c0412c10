//! Answers every request of a route with a redirect.

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};

use super::context::Flow;
use crate::{
    error,
    reply::{GatewayResponse, Reply},
    request::RequestFacts,
    routing::Template,
};

#[derive(Debug)]
pub(super) struct Redirect {
    location: Template,
    /// `None`: by the method.
    status: Option<StatusCode>,
}

impl Redirect {
    pub(super) fn new(location: Template, status: Option<StatusCode>) -> Self {
        Self { location, status }
    }

    pub(super) fn on_request(&self, facts: &RequestFacts<'_>) -> Flow {
        // `//` would begin the host of another origin.
        let location = self.location.render(facts);
        let Some(location) = location.filter(|to| !to.as_bytes().starts_with(b"//")) else {
            return Flow::Reply(error::no_route().into());
        };
        // Every client knows 301, but repeats a POST as GET.
        let status = self.status.unwrap_or(if is_read(facts.method) {
            StatusCode::MOVED_PERMANENTLY
        } else {
            StatusCode::PERMANENT_REDIRECT
        });
        let reply = Reply::ok(HeaderValue::from_static("text/plain"), Bytes::new())
            .status(status)
            .header(header::LOCATION, location);
        Flow::Reply(Box::new(GatewayResponse::Reply(reply)))
    }
}

fn is_read(method: &Method) -> bool {
    [Method::GET, Method::HEAD].contains(method)
}
