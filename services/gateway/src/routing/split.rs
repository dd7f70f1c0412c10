//! Requests of one route to several upstreams, by weight.

use std::time::Duration;

/// Which upstreams a route has, and how their shares are kept apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    /// Indices into the configuration's upstreams, with their weights. At least one is not 0.
    pub(crate) parts: Vec<(usize, u32)>,
    /// What has no valid upstream, and is answered with 500.
    pub(crate) refused_weight: u32,
    pub(crate) sticky: Option<Sticky>,
}

/// What keeps a client at its upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sticky {
    Cookie {
        name: String,
        /// `None`: until the browser is closed.
        ttl: Option<Duration>,
    },
    /// Its user, or its IP address.
    ClientHash,
}
