//! Where requests are counted: in this process, or in a store that replicas share.

use std::{net::IpAddr, time::Duration};

use crate::config::Limit;

/// Whose requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject<'a> {
    User(&'a str),
    /// IPv6 clients have at least a /64 to themselves, so the /64 is counted.
    ClientIp(IpAddr),
}

/// The quota after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) allowed: bool,
    pub(crate) remaining: u32,
    /// Until at least one more request is allowed.
    pub(crate) reset: Duration,
}

/// Counts requests per limit and subject.
pub(crate) trait Counter: Send + Sync {
    /// Counts one request, unless the limit is used up.
    ///
    /// # Errors
    /// When the store is unavailable; the caller decides what that means.
    fn count(
        &self,
        limit: &Limit,
        subject: Subject<'_>,
    ) -> impl Future<Output = Result<Outcome, CounterError>> + Send;
}

/// The store is unavailable.
#[derive(Debug, thiserror::Error)]
#[error("rate limit store unavailable")]
pub(crate) struct CounterError;
