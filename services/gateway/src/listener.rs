//! Listen addresses, and the caps on client connections.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

/// An IPv6 site may have this many times the connections of one client, as with rate limits.
const SITE_FACTOR: usize = 16;

/// # Errors
/// When the address cannot be bound, for example because it is in use.
pub(crate) fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("cannot listen on {address} ({setting})"))
}

/// The address under which this process reaches its own listener.
pub(crate) fn loopback(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Open client connections; the gauge that is exported is also the counter.
#[derive(Debug)]
pub(crate) struct Connections {
    open: Gauge,
    by_client: Mutex<HashMap<Counted, usize>>,
    all_closed: Notify,
}

/// One open connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    connections: Arc<Connections>,
    /// What it counts against.
    counted: [Option<Counted>; 2],
}

/// What has a cap of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Counted {
    /// A client with IPv6 usually has a whole /64.
    Client(IpAddr),
    /// The /48 of an IPv6 client: the least that a site is given, with 65 536 of the above.
    Site(Ipv6Addr),
}

/// How many connections may be open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    pub(crate) total: usize,
    pub(crate) per_client: usize,
}

/// Which cap a connection would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    Total,
    Client,
}

impl Full {
    /// As in metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Client => "client",
        }
    }
}

impl Connections {
    pub(crate) fn new(open: Gauge) -> Arc<Self> {
        Arc::new(Self {
            open,
            by_client: Mutex::default(),
            all_closed: Notify::new(),
        })
    }

    /// `client`: the address that counts against the cap per client; `None` if it is a proxy's.
    ///
    /// # Errors
    /// When a cap is reached.
    pub(crate) fn open(
        self: &Arc<Self>,
        client: Option<IpAddr>,
        caps: Caps,
    ) -> Result<OpenConnection, Full> {
        let before = self.open.inc();
        let mut connection = OpenConnection {
            connections: Arc::clone(self),
            counted: [None; 2],
        };
        if !usize::try_from(before).is_ok_and(|before| before < caps.total) {
            return Err(Full::Total);
        }
        if let Some(client) = client {
            connection.count_for(client, caps.per_client)?;
        }
        Ok(connection)
    }

    /// Waits until no connection is open.
    pub(crate) async fn all_closed(&self) {
        loop {
            let closed = self.all_closed.notified();
            if self.open.get() == 0 {
                return;
            }
            closed.await;
        }
    }

    fn closed(&self, counted: [Option<Counted>; 2]) {
        let mut by_client = self.lock();
        for counted in counted.into_iter().flatten() {
            if let Some(open) = by_client.get_mut(&counted) {
                *open -= 1;
                if *open == 0 {
                    by_client.remove(&counted);
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Counted, usize>> {
        self.by_client
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenConnection {
    /// Counts the connection against the cap of its client, once that is known.
    ///
    /// # Errors
    /// When the cap is reached.
    pub(crate) fn count_for(&mut self, client: IpAddr, per_client: usize) -> Result<(), Full> {
        let counted = counted(client);
        let site = per_client.saturating_mul(SITE_FACTOR);
        let mut by_client = self.connections.lock();
        let open = |counted: &Counted| by_client.get(counted).copied().unwrap_or(0);
        let mut limits = counted.iter().flatten().zip([per_client, site]);
        if limits.any(|(counted, cap)| open(counted) >= cap) {
            return Err(Full::Client);
        }
        for counted in counted.into_iter().flatten() {
            *by_client.entry(counted).or_default() += 1;
        }
        drop(by_client);
        self.counted = counted;
        Ok(())
    }
}

fn counted(client: IpAddr) -> [Option<Counted>; 2] {
    match client {
        IpAddr::V4(_) => [Some(Counted::Client(client)), None],
        IpAddr::V6(ip) => {
            let network =
                |bits: u32| Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << (128 - bits)));
            let client = Counted::Client(network(64).into());
            [Some(client), Some(Counted::Site(network(48)))]
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if self.counted[0].is_some() {
            self.connections.closed(self.counted);
        }
        if self.connections.open.dec() == 1 {
            self.connections.all_closed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_count_in_all_and_per_client() {
        let connections = Connections::new(Gauge::default());
        let caps = Caps {
            total: 3,
            per_client: 2,
        };
        let open = |client: &str| connections.open(Some(client.parse().unwrap()), caps);
        let first = open("2001:db8::1").unwrap();
        let second = open("2001:db8::2").unwrap();
        assert_eq!(open("2001:db8::3").unwrap_err(), Full::Client);
        let third = open("2001:db8:0:1::1").unwrap();
        assert_eq!(open("192.0.2.1").unwrap_err(), Full::Total);
        drop(first);
        let fourth = connections.open(None, caps).unwrap();
        drop((second, third, fourth));
        assert_eq!(connections.open.get(), 0);
        assert!(connections.lock().is_empty());
    }

    /// One that is given a /48 has 65,536 networks of its own.
    #[test]
    fn a_site_cannot_multiply_its_connections_by_its_networks() {
        let connections = Connections::new(Gauge::default());
        let caps = Caps {
            total: 1000,
            per_client: 2,
        };
        let open = |client: String| connections.open(Some(client.parse().unwrap()), caps);
        let mut kept = Vec::new();
        for network in 0..40 {
            kept.extend(open(format!("2001:db8:1:{network:x}::1")).ok());
        }
        assert_eq!(kept.len(), 32);
        let refused = open("2001:db8:1:ffff::1".to_owned());
        assert_eq!(refused.unwrap_err(), Full::Client);
        kept.push(open("2001:db8:2::1".to_owned()).unwrap());
        kept.remove(0);
        kept.push(open("2001:db8:1:ffff::1".to_owned()).unwrap());
        drop(kept);
        assert_eq!(connections.open.get(), 0);
        assert!(connections.lock().is_empty());
    }
}
