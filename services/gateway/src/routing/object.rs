//! How routes from objects of a cluster match beside what all routes have.

/// The methods of such a route are exactly those that it names, and another one is no reason for 405.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObjectMatch {
    /// Among routes for one host and path; the lowest one handles a request.
    pub(crate) rank: u32,
    /// Whether connections have TLS; `None`: either.
    pub(crate) has_tls: Option<bool>,
}
