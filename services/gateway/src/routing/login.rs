//! Where a route needs people to be logged in.

use super::pattern::HostPattern;

/// A login that a route needs.
#[derive(Clone, Debug)]
pub(crate) struct RouteLogin {
    /// Among those of the configuration.
    pub(crate) index: usize,
    /// On these hosts alone. Empty: on all.
    pub(crate) hosts: Vec<HostPattern>,
}
