//! Whose requests are counted, and what is left of their quota.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

/// Whose requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject<'a> {
    User(&'a str),
    /// IPv6 clients have at least a /64 to themselves, so the /64 is counted.
    ClientIp(IpAddr),
    /// The /48 of an IPv6 client: the least that a site is given, with 65 536 of the above.
    Site(Ipv6Addr),
}

/// The quota after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LimitDecision {
    pub(crate) allowed: bool,
    pub(crate) remaining: u32,
    /// Until at least one more request is allowed.
    pub(crate) reset: Duration,
}
