//! Copies of requests for another upstream.

use std::time::Duration;

/// Which requests of a route are copied, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MirrorRule {
    /// Index into the configuration's upstreams.
    pub(crate) upstream: usize,
    /// From 1 to 100.
    pub(crate) percent: u32,
    /// Requests with a larger body are not copied.
    pub(crate) max_body_bytes: usize,
    /// For the whole exchange.
    pub(crate) timeout: Duration,
    /// Copies at the same time.
    pub(crate) max_in_flight: usize,
}
