//! What a route decides before it is known who sent a request, and what browsers learn about its
//! responses.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, StatusCode};
use ipnet::IpNet;

use crate::request::OriginPattern;

/// `None`: the route does without.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guards {
    /// Requests without TLS are sent to this port.
    pub(crate) https_port: Option<u16>,
    pub(crate) cors: Option<Arc<Cors>>,
    pub(crate) networks: Option<Arc<ClientNetworks>>,
    pub(crate) maintenance: Option<Arc<Maintenance>>,
    pub(crate) fault: Option<Fault>,
    pub(crate) security_headers: Option<Arc<SecurityHeaders>>,
}

/// What pages of other origins may do.
#[derive(Clone, Debug)]
pub(crate) struct Cors {
    pub(crate) origins: Vec<OriginPattern>,
    /// `None`: those of the route.
    pub(crate) methods: Option<Vec<Method>>,
    pub(crate) request_headers: AllowedHeaders,
    /// The value of the header.
    pub(crate) exposed_headers: Option<HeaderValue>,
    pub(crate) credentials: bool,
    pub(crate) max_age: Duration,
    pub(crate) private_network: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum AllowedHeaders {
    /// Whichever is asked for.
    Any,
    Listed(Vec<HeaderName>),
}

impl Cors {
    pub(crate) fn allows_any_origin(&self) -> bool {
        self.origins.contains(&OriginPattern::Any)
    }

    /// `origin`: the value of the header.
    pub(crate) fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|pattern| pattern.matches(origin))
    }
}

/// Which client IPs have access.
#[derive(Debug)]
pub(crate) struct ClientNetworks {
    /// `None`: all.
    pub(crate) allowed: Option<NetworkSet>,
    pub(crate) denied: NetworkSet,
}

impl ClientNetworks {
    pub(crate) fn admit(&self, client: IpAddr) -> bool {
        let allowed = self.allowed.as_ref();
        allowed.is_none_or(|allowed| allowed.contains(client)) && !self.denied.contains(client)
    }
}

/// Ranges of addresses, searched in logarithmic time.
#[derive(Debug, Default)]
pub(crate) struct NetworkSet(Vec<IpNet>);

impl NetworkSet {
    pub(crate) fn new(networks: &[IpNet]) -> Self {
        // In order, and none within another.
        let mut networks = IpNet::aggregate(&networks.to_vec());
        networks.sort_by_key(IpNet::network);
        Self(networks)
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let after = self.0.partition_point(|net| net.network() <= address);
        let before = after.checked_sub(1).map(|index| &self.0[index]);
        before.is_some_and(|network| network.contains(&address))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Requests are answered with 503.
#[derive(Debug)]
pub(crate) struct Maintenance {
    pub(crate) retry_after_seconds: u64,
    /// These clients are served.
    pub(crate) allowed: NetworkSet,
    /// Of the problem.
    pub(crate) text: Option<String>,
}

/// A failure that is made on purpose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// Of the requests of the route.
    pub(crate) percent: u8,
    pub(crate) effect: FaultEffect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultEffect {
    Status(StatusCode),
    Delay(Duration),
    /// The connection is closed without a response.
    Abort,
}

/// Headers of a response that an upstream did not set itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecurityHeaders {
    pub(crate) always: Vec<(HeaderName, HeaderValue)>,
    /// `Strict-Transport-Security`, which must not be said over plain HTTP (RFC 6797, 7.2).
    pub(crate) over_tls: Option<HeaderValue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_their_networks() {
        let networks = [
            "10.0.0.0/8",
            "10.1.0.0/16",
            "192.0.2.7/32",
            "2001:db8::/32",
            "9.9.9.9/32",
        ];
        let set = NetworkSet::new(&networks.map(|text| text.parse().unwrap()));
        for (address, expected) in [
            ("10.0.0.0", true),
            ("10.1.2.3", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("9.255.255.255", false),
            ("9.9.9.9", true),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("::ffff:10.2.3.4", true),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
            ("::1", false),
        ] {
            assert_eq!(
                set.contains(address.parse().unwrap()),
                expected,
                "{address}"
            );
        }
        assert!(!NetworkSet::default().contains("::1".parse().unwrap()));
    }
}
