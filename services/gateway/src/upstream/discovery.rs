//! Resolves the host names of upstreams periodically; every address is one replica.
//!
//! - Records are not cached: their TTL says nothing about how long a replica lives. With a cache,
//!   requests would go to replicas that are gone, and new ones would stay idle.
//! - A lookup that fails or returns nothing keeps the addresses of the last one that succeeded. A
//!   DNS outage therefore never takes an upstream down; replicas that are really gone are ejected.
//! - A lookup publishes its result at once, so a slow name does not hold up the others.
//! - A reload starts a round immediately, because new upstreams have no address yet.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{
        ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
        ResolverOpts,
    },
    net::runtime::TokioRuntimeProvider,
};
use tokio::task::JoinSet;

use super::replicas::Upstream;
use crate::config::{Host, model};

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

    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        let lookup = tokio::time::timeout(self.timeout, self.inner.lookup_ip(name)).await;
        let lookup = lookup
            .map_err(|_| format!("timed out after {} ms", self.timeout.as_millis()))?
            .map_err(|error| error.to_string())?;
        let mut addresses: Vec<IpAddr> = lookup.iter().collect();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() {
            Err("no addresses".to_owned())
        } else {
            Ok(addresses)
        }
    }
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
        upstream.retry_budget.add_minimum();
        for (index, target) in upstream.config.targets.iter().enumerate() {
            let Host::Name(name) = &target.host else {
                continue;
            };
            let (upstream, resolver) = (Arc::clone(upstream), Arc::clone(resolver));
            let name = name.clone();
            running.spawn(async move {
                let result = resolver.addresses(&name).await;
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
