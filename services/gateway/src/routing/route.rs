//! One route: the requests it matches, and how they are handled.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde::Deserialize;

use super::{
    access::Access,
    codings::{CompressionSettings, RequestDecompression},
    condition::{HeaderCondition, QueryCondition},
    forward_auth::ForwardAuth,
    guards::Guards,
    lifecycle::Lifecycle,
    login::RouteLogin,
    mirror::MirrorRule,
    object::ObjectMatch,
    pattern::{HostPattern, PathPattern},
    redirect::RedirectParts,
    retry::RetryOn,
    rewrite::Rewrite,
    split::Split,
    template::Template,
    validation::ValidationMode,
};

/// A validated route of the configuration.
#[derive(Debug)]
pub(crate) struct Route {
    /// Its place among the routes of the configuration.
    pub(crate) index: usize,
    pub(crate) name: Arc<str>,
    pub(crate) priority: i32,
    /// `None`: it is from the configuration file.
    pub(crate) object: Option<ObjectMatch>,
    /// Empty: any host.
    pub(crate) hosts: Vec<HostPattern>,
    pub(crate) paths: Vec<PathPattern>,
    /// Empty: any method.
    pub(crate) methods: Vec<Method>,
    /// All of these must hold.
    pub(crate) headers: Vec<HeaderCondition>,
    pub(crate) query: Vec<QueryCondition>,
    /// The path for the upstream; `None`: that of the request.
    pub(crate) rewrite: Option<Rewrite>,
    pub(crate) action: RouteAction,
    pub(crate) split: Option<Split>,
    /// Index into the configuration's lookups, and the segment of the path that is looked up.
    pub(crate) lookup: Option<(usize, String)>,
    pub(crate) mirror: Option<MirrorRule>,
    /// Requests in common form take the direct path.
    pub(crate) direct: bool,
    /// The `Location` of every response.
    pub(crate) redirect: Option<Template>,
    /// The same of an object of a cluster.
    pub(crate) redirect_parts: Option<RedirectParts>,
    /// `None`: 301, or 308 where the method must stay.
    pub(crate) redirect_status: Option<StatusCode>,
    pub(crate) respond: Option<FixedResponse>,
    /// Index into the configuration's sites.
    pub(crate) site: Option<usize>,
    pub(crate) lifecycle: Option<Lifecycle>,
    /// Who else decides about requests.
    pub(crate) forward_auth: Option<Arc<ForwardAuth>>,
    pub(crate) auth: Auth,
    pub(crate) access: Access,
    /// The first whose hosts are those of the request counts; none: no login is needed.
    pub(crate) logins: Vec<RouteLogin>,
    /// Indices into the configuration's limits, in the order in which they count.
    pub(crate) limits: Vec<usize>,
    /// In place of what the limits say.
    pub(crate) on_store_error: Option<OnStoreError>,
    /// How responses are compressed; `None`: they are not.
    pub(crate) compression: Option<Arc<CompressionSettings>>,
    pub(crate) request_decompression: RequestDecompression,
    /// Calls with gRPC-web become calls with gRPC.
    pub(crate) grpc_web: bool,
    /// What becomes of requests that are not as the OpenAPI document says.
    pub(crate) validate: ValidationMode,
    /// Index into the configuration's caches.
    pub(crate) cache: Option<usize>,
    /// What is changed of the headers of the request, in this order.
    pub(crate) request_headers: Vec<HeaderEdit<Template>>,
    /// The same of the response.
    pub(crate) response_headers: Vec<HeaderEdit<HeaderValue>>,
    pub(crate) guards: Guards,
    pub(crate) upgrade: bool,
    /// Idle `WebSockets` get a ping after this time.
    pub(crate) ping: Option<Duration>,
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
    /// `None`: as the upstream says.
    pub(crate) retry_on: Option<RetryOn>,
    /// From the head of the request to the end of the response. `None`: no limit.
    pub(crate) request_timeout: Option<Duration>,
}

/// A change to a header. A value for several occurrences is there for each.
#[derive(Clone, Debug)]
pub(crate) enum HeaderEdit<V> {
    /// In place of all values that the header has.
    Set(HeaderName, V),
    Remove(HeaderName),
    /// Beside the values that the header has.
    Add(HeaderName, V),
    /// Unless the header has a value.
    SetMissing(HeaderName, V),
}

/// Where the response comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteAction {
    /// Index into the configuration's upstreams.
    Proxy(usize),
    /// An upstream that a policy of the route chooses.
    Choose,
    Serve(GatewayPage),
    /// The route's `redirect`.
    Redirect,
    /// The route's `respond`.
    Respond,
    /// The route's `site`.
    Site,
    /// Whether the caller is accepted, and who it is.
    Verify,
}

/// The same response to every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FixedResponse {
    pub(crate) status: StatusCode,
    pub(crate) content_type: HeaderValue,
    pub(crate) body: Bytes,
}

/// A page that the gateway serves itself.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GatewayPage {
    Health,
    Openapi,
    Docs,
    /// Those of the route's login.
    Login,
    AuthVerify,
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

/// What becomes of a request when the store of the rate limits does not answer.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnStoreError {
    /// This process counts for itself.
    #[default]
    Local,
    /// It is not counted.
    Allow,
    /// It is refused with 503.
    Deny,
}

impl OnStoreError {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl Route {
    /// Whether the route allows the method; GET includes HEAD, except in objects of a cluster.
    pub(super) fn allows(&self, method: &Method) -> bool {
        self.methods.is_empty()
            || self.methods.contains(method)
            || (*method == Method::HEAD
                && self.object.is_none()
                && self.methods.contains(&Method::GET))
    }

    /// Whether the answer to another method names those that there are.
    pub(super) fn names_methods(&self) -> bool {
        self.object.is_none()
    }

    /// Whether connections with TLS, or without, may ask for it.
    pub(super) fn is_for(&self, has_tls: bool) -> bool {
        let wanted = self.object.and_then(|object| object.has_tls);
        wanted.is_none_or(|wanted| wanted == has_tls)
    }
}
