//! The client IP behind trusted proxies.
//!
//! Every proxy appends the address of its peer to `X-Forwarded-For`, so the header is read from the
//! right, as long as the peer that reported a hop is trusted. Anything further left may be forged.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

/// The proxies whose `X-Forwarded-For` is believed. If empty, none is.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    pub fn new(ranges: Vec<IpNet>) -> Self {
        Self(ranges)
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|range| range.contains(&address))
    }
}

/// The rightmost hop that is not a trusted proxy. A hop that is not an IP address ends the search at
/// the proxy that reported it.
pub fn client_ip(headers: &HeaderMap, peer: IpAddr, trusted: &TrustedProxies) -> IpAddr {
    let mut client = peer.to_canonical();
    if !trusted.contains(client) {
        return client;
    }
    let values: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        // A value that is not text ends the walk, as any other hop that is not an address.
        .map(|value| value.to_str().unwrap_or_default())
        .collect();
    for hop in values.iter().rev().flat_map(|value| value.rsplit(',')) {
        let Some(address) = parse_hop(hop.trim()) else {
            break;
        };
        client = address;
        if !trusted.contains(client) {
            break;
        }
    }
    client
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1` or `[2001:db8::1]:4711`.
pub fn parse_hop(hop: &str) -> Option<IpAddr> {
    hop.parse::<IpAddr>()
        .ok()
        .or_else(|| {
            hop.parse::<std::net::SocketAddr>()
                .ok()
                .map(|socket| socket.ip())
        })
        .or_else(|| hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(forwarded: &[&str], peer: &str, trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let trusted = TrustedProxies::new(trusted.iter().map(|r| r.parse().unwrap()).collect());
        client_ip(&headers, peer.parse().unwrap(), &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let inside = &["10.0.0.0/8"];
        assert_eq!(seen(&["1.1.1.1"], "9.9.9.9", inside), "9.9.9.9");
        assert_eq!(seen(&["1.1.1.1, 2.2.2.2"], "10.0.0.1", inside), "2.2.2.2");
        assert_eq!(
            seen(&["1.1.1.1", "2.2.2.2, 10.0.0.9"], "10.0.0.1", inside),
            "2.2.2.2"
        );
        assert_eq!(seen(&["1.1.1.1, rubbish"], "10.0.0.1", inside), "10.0.0.1");
        assert_eq!(seen(&["1.1.1.1", "\u{e9}"], "10.0.0.1", inside), "10.0.0.1");
        assert_eq!(seen(&[], "10.0.0.1", inside), "10.0.0.1");
        assert_eq!(
            seen(&["[2001:db8::1]:80"], "::ffff:10.0.0.1", inside),
            "2001:db8::1"
        );
    }
}
