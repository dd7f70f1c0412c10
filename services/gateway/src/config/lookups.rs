//! A valid `[lookups.*]`: where addresses come from, and which of them requests may be sent to.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    ops::RangeInclusive,
    sync::{Arc, LazyLock},
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

use super::Host;
use crate::routing::{HostPattern, PathPattern};

/// Finds the upstream of a request by a segment of its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LookupConfig {
    pub(crate) name: Arc<str>,
    /// Addresses that need no asking.
    pub(crate) table: BTreeMap<String, String>,
    pub(crate) endpoint: Option<LookupEndpoint>,
    pub(crate) timeout: Duration,
    pub(crate) ttl: Duration,
    pub(crate) unknown_ttl: Duration,
    /// After `ttl`, while the address cannot be looked up again.
    pub(crate) stale: Duration,
    pub(crate) max_entries: u64,
    pub(crate) max_in_flight: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) guard: AddressGuard,
}

/// Who is asked for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LookupEndpoint {
    /// Index into the configuration's upstreams.
    pub(crate) upstream: usize,
    /// With a segment `{key}`.
    pub(crate) path: PathPattern,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

/// Which addresses requests may be sent to. What is not listed is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddressGuard {
    pub(crate) networks: Vec<IpNet>,
    pub(crate) ports: Vec<RangeInclusive<u16>>,
    /// Names that may be resolved.
    pub(crate) hosts: Vec<HostPattern>,
}

/// Addresses of this machine, of its neighbors, of clouds' and providers' own networks, and such as contain
/// another one. The narrowest of several comes first. A listed network that merely contains them, such as 0.0.0.0/0, does not allow them.
const SPECIAL: [&str; 23] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "192.0.0.192/32",
    "192.0.0.0/24",
    "100.100.100.200/32",
    "100.64.0.0/10",
    "198.18.0.0/15",
    "168.63.129.16/32",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "::ffff:0:0/96",
    "::ffff:0:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "2001::/32",
    "2002::/16",
    "fd00:ec2::/32",
    "fd20:ce::254/128",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];
static SPECIAL_NETWORKS: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    let parsed = SPECIAL.iter().map(|text| text.parse());
    parsed.collect::<Result<_, _>>().expect("they are networks")
});

impl AddressGuard {
    /// An address that is allowed as it is, or a name that may be resolved.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub(crate) fn check(&self, host: &Host, port: u16) -> Result<(), &'static str> {
        if !self.ports.iter().any(|ports| ports.contains(&port)) {
            return Err("its port is not in `ports`");
        }
        match host {
            Host::Ip(ip) => self.check_ip(*ip),
            Host::Name(name) => {
                let name = name.trim_end_matches('.');
                let is_known = self.hosts.iter().any(|pattern| pattern.matches(name));
                is_known.then_some(()).ok_or("its host is not in `hosts`")
            }
            Host::Service(_) | Host::Kubernetes(_) => Err("it is not host:port"),
        }
    }

    /// # Errors
    /// The rule that it breaks.
    pub(crate) fn check_ip(&self, ip: IpAddr) -> Result<(), &'static str> {
        let ip = ip.to_canonical();
        let contains = |network: &&IpNet| network.contains(&ip);
        if !self.networks.iter().any(|network| network.contains(&ip)) {
            return Err("its IP address is not in `networks`");
        }
        let Some(special) = SPECIAL_NETWORKS.iter().find(contains) else {
            return Ok(());
        };
        let is_listed = |network: &IpNet| network.contains(&ip) && special.contains(network);
        if self.networks.iter().any(is_listed) {
            return Ok(());
        }
        Err("its IP address is special, and `networks` does not list it on its own")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::addresses::parse_address;

    fn guard(networks: &[&str]) -> AddressGuard {
        AddressGuard {
            networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
            ports: vec![80..=80, 8000..=8999],
            hosts: vec![HostPattern::parse("*.bots.example").unwrap()],
        }
    }

    fn check(guard: &AddressGuard, address: &str) -> Result<(), &'static str> {
        let (host, port) = parse_address(address).map_err(|_| "not an address")?;
        guard.check(&host, port)
    }

    #[test]
    fn only_listed_addresses_are_allowed() {
        let guard = guard(&["10.0.0.0/8", "2001:db8::/32"]);
        for address in [
            "10.1.2.3:80",
            "10.1.2.3:8500",
            "[2001:db8::1]:80",
            "[::ffff:10.1.2.3]:80",
            "a.bots.example:80",
            "A.Bots.Example.:80",
        ] {
            assert_eq!(check(&guard, address), Ok(()), "{address}");
        }
        for address in [
            "10.1.2.3:81",
            "10.1.2.3:0",
            "10.1.2.3:9000",
            "11.0.0.1:80",
            "127.0.0.1:80",
            "[::1]:80",
            "[2001:db9::1]:80",
            "bots.example:80",
            "abots.example:80",
            "a.bots.example.org:80",
            "localhost:80",
            "10.1.2.3",
            "http://10.1.2.3:80",
            "u@10.1.2.3:80",
            "10.1.2.3:80/x",
            "10.1.2.3 :80",
            "0x0a.1.2.3:80",
            "167838211:80",
            "",
        ] {
            assert!(check(&guard, address).is_err(), "{address}");
        }
    }

    #[test]
    fn special_addresses_have_to_be_listed_on_their_own() {
        let all = guard(&["0.0.0.0/0", "::/0"]);
        for ip in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "100.100.100.200",
            "192.0.0.170",
            "198.18.0.1",
            "168.63.129.16",
            "255.255.255.255",
            "224.0.0.1",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::1",
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            assert!(all.check_ip(ip).is_err(), "{ip}");
            let network = IpNet::from(ip.to_canonical()).to_string();
            assert_eq!(guard(&[&network]).check_ip(ip), Ok(()), "{ip}");
        }
        for ip in ["1.1.1.1", "10.0.0.1", "2606:4700::1111", "fd12::1"] {
            assert_eq!(all.check_ip(ip.parse().unwrap()), Ok(()), "{ip}");
        }
        // Those of a cluster, but not the service in the middle of them.
        let shared = guard(&["100.64.0.0/10"]);
        assert!(shared.check_ip("100.64.0.1".parse().unwrap()).is_ok());
        assert!(shared.check_ip("100.100.100.200".parse().unwrap()).is_err());
        let loopback = guard(&["127.0.0.0/8"]);
        assert!(loopback.check_ip("127.0.0.1".parse().unwrap()).is_ok());
        assert!(
            loopback
                .check_ip("169.254.169.254".parse().unwrap())
                .is_err()
        );
    }
}
