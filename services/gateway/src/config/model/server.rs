//! `[server]`.

use std::net::SocketAddr;

use ipnet::IpNet;
use quartet_common::config::{empty_as_none, networks};
use serde::{Deserialize, Deserializer, de::Error as _};

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

    /// The address of the first listener whose connections begin with a request.
    pub(crate) fn plain_address(&self) -> Option<SocketAddr> {
        let mut listeners = self.listen.iter();
        let plain = listeners.find(|it| it.accepts_with() == AcceptedWith::default());
        plain.map(Listen::address)
    }
}

/// A listener: its address alone, or with further settings as a table or as text.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(
    untagged,
    expecting = "must be ip:port, or a table with `address` and, if need be, `tls`, `http2`, `proxy_protocol` and `redirect_to_https`"
)]
pub(crate) enum Listen {
    Address(SocketAddr),
    Table(Listener),
    #[serde(deserialize_with = "listener_text")]
    Text(Listener),
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    #[serde(default)]
    pub(crate) http2: Option<bool>,
    #[serde(default)]
    pub(crate) proxy_protocol: bool,
    #[serde(default)]
    pub(crate) tls: bool,
    #[serde(default)]
    pub(crate) redirect_to_https: bool,
}

/// What the connections of a listener begin with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AcceptedWith {
    pub(crate) proxy_header: bool,
    /// After the PROXY header, if both are there.
    pub(crate) tls: bool,
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
            Self::Table(listener) | Self::Text(listener) => listener.address,
        }
    }

    fn settings(&self) -> Option<&Listener> {
        match self {
            Self::Address(_) => None,
            Self::Table(listener) | Self::Text(listener) => Some(listener),
        }
    }

    /// What connections of the one with this local address begin with. The address is a question to the
    /// kernel, so it is not asked if all are alike. Without an answer, they begin with whatever one expects.
    pub(crate) fn accepted_with(
        listeners: &[Self],
        local: impl FnOnce() -> Option<SocketAddr>,
    ) -> AcceptedWith {
        let first = listeners.first().map(Self::accepts_with);
        let mut all = listeners.iter().map(Self::accepts_with);
        if let Some(first) = first.filter(|&first| all.all(|other| other == first)) {
            return first;
        }
        let Some(local) = local() else {
            return AcceptedWith {
                proxy_header: listeners.iter().any(Self::proxy_protocol),
                tls: listeners.iter().any(Self::tls),
            };
        };
        let own = listeners.iter().find(|listener| listener.accepts(local));
        own.map(Self::accepts_with).unwrap_or_default()
    }

    /// Whether the one with this local address answers plain requests with redirects. The address is not
    /// asked for unless one does.
    pub(crate) fn any_redirects_to_https(
        listeners: &[Self],
        local: impl FnOnce() -> Option<SocketAddr>,
    ) -> bool {
        if !listeners.iter().any(Self::redirects_to_https) {
            return false;
        }
        local().is_none_or(|local| {
            let own = listeners.iter().find(|listener| listener.accepts(local));
            own.is_some_and(Self::redirects_to_https)
        })
    }

    pub(crate) fn accepts_with(&self) -> AcceptedWith {
        AcceptedWith {
            proxy_header: self.proxy_protocol(),
            tls: self.tls(),
        }
    }

    /// Connections are encrypted.
    pub(crate) fn tls(&self) -> bool {
        self.settings().is_some_and(|it| it.tls)
    }

    pub(crate) fn redirects_to_https(&self) -> bool {
        self.settings().is_some_and(|it| it.redirect_to_https)
    }

    /// Connections begin with a PROXY header.
    pub(crate) fn proxy_protocol(&self) -> bool {
        self.settings().is_some_and(|it| it.proxy_protocol)
    }

    /// `None`: with TLS it is offered; without, as `server.http2` says.
    pub(crate) fn http2(&self) -> Option<bool> {
        self.settings()?.http2
    }
}

/// An address, and the names of the settings that are true.
fn listener_text<'de, D: Deserializer<'de>>(from: D) -> Result<Listener, D::Error> {
    let text = String::deserialize(from)?;
    let mut words = text.split(' ');
    let address = words.next().and_then(|word| word.parse().ok());
    let invalid = || D::Error::custom("is not an address with names of settings");
    let mut listener = Listener {
        address: address.ok_or_else(invalid)?,
        http2: None,
        proxy_protocol: false,
        tls: false,
        redirect_to_https: false,
    };
    for word in words {
        match word {
            "http2" => listener.http2 = Some(true),
            "proxy_protocol" => listener.proxy_protocol = true,
            "tls" => listener.tls = true,
            "redirect_to_https" => listener.redirect_to_https = true,
            _ => return Err(invalid()),
        }
    }
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_addresses_tables_or_text() {
        let read = |value| serde_json::from_value::<Listen>(value);
        let table = serde_json::json!({
            "address": "127.0.0.1:1", "tls": true, "proxy_protocol": true, "http2": true,
        });
        let text = "127.0.0.1:1 tls proxy_protocol http2".into();
        let listen = [table, text, "127.0.0.1:1".into()];
        let listen = listen.map(|value| read(value).unwrap());
        for listen in &listen[..2] {
            let with = listen.accepts_with();
            assert!(with.tls && with.proxy_header && !listen.redirects_to_https());
            assert_eq!(listen.http2(), Some(true));
        }
        assert_eq!(listen[2].accepts_with(), AcceptedWith::default());
        for text in ["127.0.0.1 tls", "127.0.0.1:1 ssl", "127.0.0.1:1  tls", ""] {
            assert!(read(text.into()).is_err(), "{text}");
        }
    }

    #[test]
    fn connections_ask_for_their_local_address_only_if_it_matters() {
        let listener = |port, proxy_protocol, tls| {
            Listen::Table(Listener {
                address: SocketAddr::from(([0, 0, 0, 0], port)),
                http2: None,
                proxy_protocol,
                tls,
                redirect_to_https: port == 80,
            })
        };
        let with = |proxy_header, tls| AcceptedWith { proxy_header, tls };
        let plain = [
            Listen::Address(SocketAddr::from(([0, 0, 0, 0], 79))),
            listener(81, false, false),
        ];
        let never = || panic!("it was asked for");
        assert_eq!(Listen::accepted_with(&plain, never), with(false, false));
        assert!(!Listen::any_redirects_to_https(&plain, never));
        let encrypted = [listener(1, true, true), listener(2, true, true)];
        assert_eq!(Listen::accepted_with(&encrypted, never), with(true, true));
        let mixed = [
            listener(80, false, false),
            listener(81, true, false),
            listener(443, false, true),
        ];
        for (port, expected) in [
            (80, with(false, false)),
            (81, with(true, false)),
            (443, with(false, true)),
            (82, with(false, false)),
        ] {
            let local = || Some(SocketAddr::from(([127, 0, 0, 1], port)));
            assert_eq!(Listen::accepted_with(&mixed, local), expected, "{port}");
            let redirects = Listen::any_redirects_to_https(&mixed, local);
            assert_eq!(redirects, port == 80, "{port}");
        }
        assert_eq!(Listen::accepted_with(&mixed, || None), with(true, true));
        assert!(Listen::any_redirects_to_https(&mixed, || None));
    }
}
