//! One route: the requests it matches, and how they are handled.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method};
use serde::Deserialize;

use super::{
    pattern::{HostPattern, PathPattern},
    template::Template,
};

/// A validated route of the configuration.
#[derive(Debug)]
pub(crate) struct Route {
    /// Its place among the routes of the configuration.
    pub(crate) index: usize,
    pub(crate) name: Arc<str>,
    pub(crate) priority: i32,
    /// Empty: any host.
    pub(crate) hosts: Vec<HostPattern>,
    pub(crate) paths: Vec<PathPattern>,
    /// Empty: any method.
    pub(crate) methods: Vec<Method>,
    /// All of these must be present.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) action: RouteAction,
    /// Requests in common form take the direct path.
    pub(crate) direct: bool,
    /// The `Location` of every response.
    pub(crate) redirect: Option<Template>,
    pub(crate) auth: Auth,
    /// Indices into the configuration's limits, in the order in which they count.
    pub(crate) limits: Vec<usize>,
    /// Headers of the request to set, or to remove.
    pub(crate) request_headers: Vec<(HeaderName, Option<Template>)>,
    /// The same of the response.
    pub(crate) response_headers: Vec<(HeaderName, Option<HeaderValue>)>,
    pub(crate) upgrade: bool,
    /// Responses may be silent for as long as `stream_timeout`.
    pub(crate) stream: bool,
    /// Paths may have encoded slashes and semicolons.
    pub(crate) raw_path: bool,
    pub(crate) body_limit_bytes: u64,
    pub(crate) body_timeout: Duration,
    /// `None`: no limit.
    pub(crate) response_timeout: Option<Duration>,
    /// `None`: no limit.
    pub(crate) stream_timeout: Option<Duration>,
}

/// Where the response comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteAction {
    /// Index into the configuration's upstreams.
    Proxy(usize),
    Serve(GatewayPage),
    /// The route's `redirect`.
    Redirect,
}

/// A page that the gateway serves itself.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GatewayPage {
    Health,
    Openapi,
    Docs,
}

/// Which access tokens a route requires.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Auth {
    /// Tokens are ignored.
    Public,
    /// A token is not needed, but must be valid if there is one.
    Optional,
    /// A valid token is needed.
    #[default]
    Required,
}

impl Route {
    /// Whether the route allows the method; GET includes HEAD.
    pub(super) fn allows(&self, method: &Method) -> bool {
        self.methods.is_empty()
            || self.methods.contains(method)
            || (*method == Method::HEAD && self.methods.contains(&Method::GET))
    }
}
