//! Host, path, method and headers of a request -> the route that answers it.

mod pattern;
mod table;

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method};

use crate::config::model::{Auth, Serve};
pub(crate) use pattern::{HostPattern, PathPattern};
pub(crate) use table::{Match, RouteTable};

/// Which requests it takes, and what is done with them.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) name: Arc<str>,
    pub(crate) priority: i32,
    /// Empty: any.
    pub(crate) hosts: Vec<HostPattern>,
    pub(crate) paths: Vec<PathPattern>,
    /// Empty: any.
    pub(crate) methods: Vec<Method>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) action: Action,
    pub(crate) auth: Auth,
    /// Index into the configuration's limits.
    pub(crate) limit: Option<usize>,
    pub(crate) upgrade: bool,
    pub(crate) body_limit_bytes: u64,
    pub(crate) body_timeout: Duration,
    /// `None`: no limit.
    pub(crate) response_timeout: Option<Duration>,
    /// `None`: no limit.
    pub(crate) stream_timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Index into the configuration's upstreams.
    Proxy(usize),
    Serve(Serve),
}

impl Route {
    /// Whether the method may be used; GET includes HEAD.
    fn takes(&self, method: &Method) -> bool {
        self.methods.is_empty()
            || self.methods.contains(method)
            || (*method == Method::HEAD && self.methods.contains(&Method::GET))
    }
}
