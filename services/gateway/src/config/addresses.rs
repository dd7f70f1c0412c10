//! Addresses that are not in the configuration, in the syntax that it has for them.

use std::{net::SocketAddr, time::Duration};

use super::{UpstreamConfig, validate};
pub(crate) use validate::parse_address;

/// An upstream with these replicas, and defaults otherwise.
///
/// # Errors
/// When there are no addresses.
pub(crate) fn upstream_of(
    name: &str,
    addresses: &[SocketAddr],
    connect_timeout: Duration,
) -> Result<UpstreamConfig, String> {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    validate::upstream_of(name, &texts, connect_timeout)
}
