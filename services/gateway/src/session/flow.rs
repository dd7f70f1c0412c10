//! One attempt to log in, from the redirect to the provider until its callback.

use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::{ids::SessionKey, record::Secret};

/// For people: to find a password, and a second factor.
pub(super) const FLOW_SECONDS: i64 = 600;
/// Of one browser, such as in tabs that a restart opens.
pub(super) const MAX_PER_BROWSER: usize = 16;

/// Of all flows, a client may have one in this many.
const CLIENT_SHARE: usize = 10;

/// The flows that one client may have; another one ends its oldest.
pub(super) fn max_per_client(max_flows: usize) -> usize {
    (max_flows / CLIENT_SHARE).max(MAX_PER_BROWSER)
}

/// Who begins flows: an address, or the /48 of an IPv6 one, which is the least that a site is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FlowClient(IpAddr);

impl FlowClient {
    pub(super) fn of(ip: IpAddr) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 80)).into(),
            ip @ IpAddr::V4(_) => ip,
        })
    }

    pub(super) fn key(self) -> SessionKey {
        SessionKey::of(self.0.to_string().as_bytes())
    }
}

/// What is kept until the callback.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Flow {
    /// Of the cookie: a callback in another browser would log that one in as someone else.
    pub(super) browser: String,
    pub(super) nonce: Secret,
    /// Of PKCE.
    pub(super) verifier: Secret,
    /// Where the browser goes then.
    pub(super) target: String,
    /// In seconds since 1970.
    pub(super) started_at: i64,
    pub(super) is_used: bool,
}

impl Flow {
    pub(super) fn is_of(&self, browser: &str) -> bool {
        self.browser == SessionKey::of(browser.as_bytes()).hex()
    }

    pub(super) fn is_over(&self, now: i64) -> bool {
        now >= self.started_at + FLOW_SECONDS || now < self.started_at - FLOW_SECONDS
    }
}
