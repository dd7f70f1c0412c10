//! An external service that decides about requests.

use std::time::Duration;

use http::HeaderName;

/// `forward_auth` of a route, valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForwardAuth {
    /// An absolute http or https URL.
    pub(crate) url: String,
    /// Where browsers go that open a page and are answered 401; `{url}` stands for the page.
    pub(crate) login_url: Option<String>,
    /// For the whole exchange.
    pub(crate) timeout: Duration,
    /// Of the request, which the service gets.
    pub(crate) request_headers: Vec<HeaderName>,
    /// Of an answer with 2xx, which the upstream gets. Never as a client sent them.
    pub(crate) response_headers: Vec<HeaderName>,
    /// Of an answer with 2xx, which the client gets with the response.
    pub(crate) client_headers: Vec<HeaderName>,
    /// Of a refusal. A client gets none of a longer one.
    pub(crate) max_body_bytes: usize,
    /// Questions at the same time.
    pub(crate) max_in_flight: usize,
}
