//! Listen addresses, and the caps on client connections.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

/// # Errors
/// When the address cannot be bound, for example because it is in use.
pub(crate) fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))
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
    by_client: Mutex<HashMap<IpAddr, usize>>,
    all_closed: Notify,
}

/// One open connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    connections: Arc<Connections>,
    client: Option<IpAddr>,
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
            client: None,
        };
        if !usize::try_from(before).is_ok_and(|before| before < caps.total) {
            return Err(Full::Total);
        }
        let Some(client) = client.map(network) else {
            return Ok(connection);
        };
        let mut by_client = self.lock();
        let open = by_client.entry(client).or_default();
        if *open >= caps.per_client {
            return Err(Full::Client);
        }
        *open += 1;
        connection.client = Some(client);
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

    fn closed(&self, client: IpAddr) {
        let mut by_client = self.lock();
        if let Some(open) = by_client.get_mut(&client) {
            *open -= 1;
            if *open == 0 {
                by_client.remove(&client);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_client
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client with IPv6 usually has a whole /64.
fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if let Some(client) = self.client {
            self.connections.closed(client);
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
}
