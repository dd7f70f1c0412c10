//! Looks up the names of upstreams again and again. DNS answers are not cached: their
//! time to live says nothing about replicas. A failed look-up keeps the last good answer.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
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

use super::Upstream;
use crate::config::{Host, model};

/// What is known about one target of an upstream.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    /// `None` for a literal address.
    pub(crate) name: Option<String>,
    /// The last good answer.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) answered: Option<Instant>,
    /// Why the last look-up failed, if it did.
    pub(crate) error: Option<String>,
}

impl Lookup {
    pub(super) fn literal(address: IpAddr) -> Self {
        Self {
            name: None,
            addresses: vec![address],
            answered: None,
            error: None,
        }
    }

    pub(super) fn unknown(name: &str) -> Self {
        let name = Some(name.to_owned());
        Self {
            name,
            addresses: Vec::new(),
            answered: None,
            error: None,
        }
    }

    pub(super) fn note(&mut self, answer: Result<Vec<IpAddr>, String>) {
        match answer {
            Ok(addresses) => {
                self.addresses = addresses;
                self.answered = Some(Instant::now());
                self.error = None;
            }
            Err(error) => self.error = Some(error),
        }
    }
}

/// Asks DNS as the settings say.
pub(crate) struct Resolver {
    inner: TokioResolver,
    timeout: Duration,
}

impl Resolver {
    /// # Errors
    /// When the system's resolver settings cannot be read.
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
        let answer = tokio::time::timeout(self.timeout, self.inner.lookup_ip(name)).await;
        let answer = answer
            .map_err(|_| format!("no answer within {} ms", self.timeout.as_millis()))?
            .map_err(|error| error.to_string())?;
        let mut addresses: Vec<IpAddr> = answer.iter().collect();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() {
            Err("no address".to_owned())
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

/// Looks up every name of every upstream once, side by side.
pub(crate) async fn refresh(upstreams: &[Arc<Upstream>], resolver: &Arc<Resolver>) {
    let mut running = JoinSet::new();
    for upstream in upstreams {
        upstream.budget.trickle();
        for (index, target) in upstream.config.targets.iter().enumerate() {
            let Host::Name(name) = &target.host else {
                continue;
            };
            let (upstream, resolver) = (Arc::clone(upstream), Arc::clone(resolver));
            let name = name.clone();
            running.spawn(async move {
                let answer = resolver.addresses(&name).await;
                if let Err(error) = &answer {
                    tracing::debug!(name, error, "look-up failed; the last good answer stays");
                }
                upstream.note_lookup(index, answer);
                upstream.publish();
            });
        }
    }
    while running.join_next().await.is_some() {}
}
