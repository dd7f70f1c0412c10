//! Listen addresses and the cap on client connections.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    sync::Arc,
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
    all_closed: Notify,
}

/// One open connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenConnection(Arc<Connections>);

impl Connections {
    pub(crate) fn new(open: Gauge) -> Arc<Self> {
        let all_closed = Notify::new();
        Arc::new(Self { open, all_closed })
    }

    /// `None`: there are `max` connections already.
    pub(crate) fn open(self: &Arc<Self>, max: usize) -> Option<OpenConnection> {
        let before = self.open.inc();
        let connection = OpenConnection(Arc::clone(self));
        usize::try_from(before)
            .is_ok_and(|before| before < max)
            .then_some(connection)
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
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if self.0.open.dec() == 1 {
            self.0.all_closed.notify_waiters();
        }
    }
}
