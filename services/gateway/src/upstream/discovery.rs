//! Resolves the host names of upstreams periodically; every address is one replica.
//!
//! - Records are not cached: their TTL says nothing about how long a replica lives. With a cache,
//!   requests would go to replicas that are gone, and new ones would stay idle.
//! - A lookup that fails or returns nothing keeps the addresses of the last one that succeeded. A
//!   DNS outage therefore never takes an upstream down; replicas that are really gone are ejected.
//! - A lookup publishes its result at once, so a slow name does not hold up the others.
//! - A reload starts a round immediately, because new upstreams have no address yet.
//! - SRV records name hosts, which are resolved as well. One that does not resolve keeps its last
//!   addresses: a host that is missing must not hold up the others.

use std::{
    cmp::Reverse,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use hickory_resolver::{
    TokioResolver,
    config::{
        ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
        ResolverOpts,
    },
    net::runtime::TokioRuntimeProvider,
    proto::rr::{RData, rdata::SRV},
};
use tokio::task::JoinSet;

use super::replicas::{FoundAddress, Upstream};
use crate::config::{Host, MAX_WEIGHT, UpstreamTarget, model};

/// Of one name; more are ignored.
const MAX_ADDRESSES: usize = 1_000;
/// Of one service; those with the greatest priority numbers are ignored.
const MAX_RECORDS: usize = 100;

/// Resolves names with the configured DNS servers.
pub(crate) struct Resolver {
    inner: TokioResolver,
    timeout: Duration,
}

impl Resolver {
    /// # Errors
    /// When the resolver configuration of the system cannot be read.
    pub(crate) fn new(settings: &model::Discovery) -> anyhow::Result<Self> {
        let timeout = Duration::from_millis(settings.timeout_ms);
        let mut builder = match settings.nameserver {
            Some(server) => {
                let config = ResolverConfig::from_name_servers(vec![name_server(server)]);
                let provider = TokioRuntimeProvider::default();
                let mut builder = TokioResolver::builder_with_config(config, provider);
                builder.options_mut().use_hosts_file = ResolveHosts::Never;
                builder
            }
            None => TokioResolver::builder_tokio()?,
        };
        let options: &mut ResolverOpts = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.cache_size = 0;
        options.positive_max_ttl = Some(Duration::ZERO);
        options.negative_max_ttl = Some(Duration::ZERO);
        options.timeout = timeout / 2;
        options.attempts = 1;
        Ok(Self {
            inner: builder.build()?,
            timeout,
        })
    }

    pub(super) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        let lookup = tokio::time::timeout(self.timeout, self.inner.lookup_ip(name)).await;
        let lookup = lookup
            .map_err(|_| format!("timed out after {} ms", self.timeout.as_millis()))?
            .map_err(|error| error.to_string())?;
        let mut addresses: Vec<IpAddr> = lookup.iter().collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(MAX_ADDRESSES);
        if addresses.is_empty() {
            Err("no addresses".to_owned())
        } else {
            Ok(addresses)
        }
    }

    /// The SRV records of a name, as addresses. `last` are those of the lookup before.
    async fn service(
        &self,
        name: &str,
        last: &[FoundAddress],
    ) -> Result<Vec<FoundAddress>, String> {
        let lookup = tokio::time::timeout(self.timeout, self.inner.srv_lookup(name)).await;
        let lookup = lookup
            .map_err(|_| format!("timed out after {} ms", self.timeout.as_millis()))?
            .map_err(|error| error.to_string())?;
        let records = lookup
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => Some(srv),
                _ => None,
            });
        let mut records: Vec<&SRV> = records.filter(|srv| !srv.target.is_root()).collect();
        records.sort_unstable_by_key(|srv| (srv.priority, Reverse(srv.weight)));
        records.truncate(MAX_RECORDS);
        let heaviest = records.iter().map(|srv| srv.weight).max().unwrap_or(0);
        let hosts = records.iter().map(|srv| async {
            let host: Arc<str> = srv.target.to_ascii().into();
            let addresses = self.addresses(&host).await;
            found(srv, heaviest, &host, addresses, last)
        });
        let found: Vec<_> = join_all(hosts).await.into_iter().flatten().collect();
        if found.is_empty() {
            return Err("no SRV record leads to an address".to_owned());
        }
        Ok(found)
    }

    async fn target(
        &self,
        target: &UpstreamTarget,
        last: &[FoundAddress],
    ) -> Result<Vec<FoundAddress>, String> {
        let name = match &target.host {
            Host::Service(name) => return self.service(name, last).await,
            Host::Name(name) => name,
            Host::Ip(_) | Host::Kubernetes(_) => return Ok(last.to_vec()),
        };
        let addresses = self.addresses(name).await?.into_iter();
        let address = |ip| FoundAddress::new(SocketAddr::new(ip, target.port), target.weight);
        Ok(addresses.map(address).collect())
    }
}

/// The replicas that one SRV record leads to.
fn found(
    srv: &SRV,
    heaviest: u16,
    host: &Arc<str>,
    addresses: Result<Vec<IpAddr>, String>,
    last: &[FoundAddress],
) -> Vec<FoundAddress> {
    let known = || {
        let last = last.iter();
        last.filter(|found| found.host.as_ref() == Some(host) && found.address.port() == srv.port)
            .map(|found| found.address.ip())
            .collect()
    };
    let addresses = addresses.unwrap_or_else(|_| known());
    let address = |ip| FoundAddress {
        address: SocketAddr::new(ip, srv.port),
        weight: share_of(srv.weight, heaviest),
        priority: srv.priority,
        host: Some(Arc::clone(host)),
    };
    addresses.into_iter().map(address).collect()
}

/// A weight of 16 bits as one of the configuration. 0 is a very small chance (RFC 2782).
fn share_of(weight: u16, heaviest: u16) -> u32 {
    let heaviest = u32::from(heaviest);
    if heaviest <= MAX_WEIGHT {
        return u32::from(weight).max(1);
    }
    (u32::from(weight) * MAX_WEIGHT / heaviest).max(1)
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()]
        .map(|mut connection| {
            connection.port = address.port();
            connection
        })
        .to_vec();
    NameServerConfig::new(address.ip(), true, connections)
}

/// Resolves every name of every upstream once, concurrently.
pub(crate) async fn refresh(upstreams: &[Arc<Upstream>], resolver: &Arc<Resolver>) {
    let mut running = JoinSet::new();
    for upstream in upstreams {
        upstream.retry_budget.add_minimum(Instant::now());
        let lookups = upstream.lookups();
        for (index, lookup) in lookups.into_iter().enumerate() {
            let Some(name) = lookup.name else { continue };
            if matches!(upstream.config.targets[index].host, Host::Kubernetes(_)) {
                // Their endpoints are watched.
                continue;
            }
            let (upstream, resolver) = (Arc::clone(upstream), Arc::clone(resolver));
            running.spawn(async move {
                let target = &upstream.config.targets[index];
                let result = resolver.target(target, &lookup.found).await;
                if let Err(error) = &result {
                    tracing::debug!(
                        host = name,
                        error,
                        "DNS lookup failed; keeping known addresses"
                    );
                }
                upstream.record_lookup(index, result);
                upstream.publish();
            });
        }
    }
    while running.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use hickory_resolver::proto::rr::Name;

    use super::*;

    #[test]
    fn weights_of_records_keep_their_proportions() {
        for (weight, heaviest, expected) in [
            (0, 0, 1),
            (1, 1, 1),
            (0, 100, 1),
            (50, 100, 50),
            (65_535, 65_535, 100),
            (32_768, 65_535, 50),
            (1, 65_535, 1),
        ] {
            assert_eq!(share_of(weight, heaviest), expected, "{weight}/{heaviest}");
        }
    }

    #[test]
    fn a_host_that_does_not_resolve_keeps_its_addresses() {
        let srv = SRV::new(1, 2, 81, Name::from_str("a.test.").unwrap());
        let host: Arc<str> = "a.test.".into();
        let ip: IpAddr = [10, 0, 0, 1].into();
        let before = found(&srv, 2, &host, Ok(vec![ip]), &[]);
        assert_eq!(before[0].address, SocketAddr::new(ip, 81));
        assert_eq!((before[0].priority, before[0].weight), (1, 2));
        let failed = || Err("refused".to_owned());
        assert_eq!(found(&srv, 2, &host, failed(), &before), before);
        assert_eq!(found(&srv, 2, &"b.test.".into(), failed(), &before), []);
    }
}
