//! `[server]`.

use std::net::SocketAddr;

use ipnet::IpNet;
use quartet_common::config::{empty_as_none, networks};
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Server {
    pub(crate) listen: Vec<Listen>,
    pub(crate) http2: bool,
    pub(crate) max_http2_streams: u32,
    pub(crate) admin_listen: SocketAddr,
    #[serde(deserialize_with = "empty_as_none")]
    pub(crate) probe_listen: Option<SocketAddr>,
    pub(crate) threads: usize,
    pub(crate) max_connections: usize,
    pub(crate) max_connections_per_client: usize,
    pub(crate) tcp_keepalive_seconds: u64,
    pub(crate) tcp_user_timeout_seconds: u64,
    pub(crate) header_timeout_seconds: u64,
    pub(crate) keepalive_timeout_seconds: u64,
    pub(crate) header_limit_bytes: usize,
    pub(crate) header_limit_count: usize,
    pub(crate) upstream_pool_size: usize,
    pub(crate) max_rate_limit_keys: usize,
    pub(crate) write_timeout_seconds: u64,
    pub(crate) page_timeout_seconds: u64,
    pub(crate) allow_underscore_headers: bool,
    pub(crate) direct_path: bool,
    pub(crate) refused_log_lines_per_second: u32,
    pub(crate) drain_delay_seconds: u64,
    pub(crate) shutdown_grace_seconds: u64,
    #[serde(deserialize_with = "networks")]
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) client_header: ClientHeader,
    pub(crate) send_forwarded: bool,
    pub(crate) fault_injection: bool,
}

/// In which header trusted proxies name the client.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ClientHeader {
    /// With `X-Forwarded-Proto` and `X-Forwarded-Host`.
    XForwardedFor,
    Forwarded,
}

impl Server {
    pub(crate) fn worker_threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }

    /// The address of the first listener.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.listen.first().map(Listen::address)
    }
}

/// A listener: its address alone, or a table with further settings.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(
    untagged,
    expecting = "must be ip:port, or a table with `address` and, if need be, `http2` and `proxy_protocol`"
)]
pub(crate) enum Listen {
    Address(SocketAddr),
    Table(Listener),
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    #[serde(default)]
    pub(crate) http2: Option<bool>,
    #[serde(default)]
    pub(crate) proxy_protocol: bool,
}

impl Listen {
    /// Whether connections to this local address are this listener's.
    pub(crate) fn accepts(&self, local: SocketAddr) -> bool {
        let listen = self.address();
        let (ip, local_ip) = (listen.ip().to_canonical(), local.ip().to_canonical());
        listen.port() == local.port() && (ip.is_unspecified() || ip == local_ip)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Address(address) => *address,
            Self::Table(listener) => listener.address,
        }
    }

    /// Whether connections of the one with this local address begin with a PROXY header. The address is a
    /// question to the kernel, so it is not asked unless some do. Without an answer, they do.
    pub(crate) fn any_expects_proxy_header(
        listeners: &[Self],
        local: impl FnOnce() -> Option<SocketAddr>,
    ) -> bool {
        if !listeners.iter().any(Self::proxy_protocol) {
            return false;
        }
        local().is_none_or(|local| {
            let own = listeners.iter().find(|listener| listener.accepts(local));
            own.is_some_and(Self::proxy_protocol)
        })
    }

    /// Connections begin with a PROXY header.
    pub(crate) fn proxy_protocol(&self) -> bool {
        matches!(self, Self::Table(listener) if listener.proxy_protocol)
    }

    /// `None`: as `server.http2` says.
    pub(crate) fn http2(&self) -> Option<bool> {
        match self {
            Self::Address(_) => None,
            Self::Table(listener) => listener.http2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_ask_for_their_local_address_only_if_it_matters() {
        let listener = |port, proxy_protocol| {
            Listen::Table(Listener {
                address: SocketAddr::from(([0, 0, 0, 0], port)),
                http2: None,
                proxy_protocol,
            })
        };
        let plain = [
            Listen::Address(SocketAddr::from(([0, 0, 0, 0], 80))),
            listener(81, false),
        ];
        let never = || panic!("it was asked for");
        assert!(!Listen::any_expects_proxy_header(&plain, never));
        let mixed = [listener(80, false), listener(81, true)];
        for (port, expected) in [(80, false), (81, true), (82, false)] {
            let local = || Some(SocketAddr::from(([127, 0, 0, 1], port)));
            let is_expected = Listen::any_expects_proxy_header(&mixed, local);
            assert_eq!(is_expected, expected, "{port}");
        }
        assert!(Listen::any_expects_proxy_header(&mixed, || None));
    }
}
