//! A TCP proxy whose connections can be cut, go silent as after a failover that closes none, or wait.

use std::{future::pending, io, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
};

const BUFFER_BYTES: usize = 64 * 1024;

/// Connections to one server.
#[derive(Clone, Debug)]
pub struct Proxy(Arc<watch::Sender<Control>>);

#[derive(Clone, Copy, Debug, Default)]
struct Control {
    mode: Mode,
    /// How often all connections have gone silent.
    vanished: u64,
    /// Connections that have waited because of [`Mode::Holding`] or [`Mode::HoldingRequests`].
    held: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Forwarding,
    Holding,
    /// Those that begin with this.
    HoldingRequests(&'static str),
    Refusing,
}

impl Proxy {
    /// Forwards to the server of a URL; returns the URL through the proxy.
    ///
    /// # Panics
    /// When the URL has no host and port, or no port is free.
    pub async fn start(url: &str) -> (Self, String) {
        let authority = url.split("//").nth(1).expect("scheme://host:port");
        let authority = authority.split('/').next().unwrap_or_default();
        let target = authority.rsplit('@').next().unwrap_or_default().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let through = url.replace(&target, &address.to_string());
        let proxy = Self(Arc::new(watch::channel(Control::default()).0));
        tokio::spawn(proxy.clone().accept(listener, target));
        (proxy, through)
    }

    /// From now on, nothing passes on the connections that are open, and none is closed. New ones work.
    pub fn vanish(&self) {
        self.0.send_modify(|control| control.vanished += 1);
    }

    /// Closes every connection, and new ones at once.
    pub fn disconnect(&self) {
        self.enter(Mode::Refusing);
    }

    /// New connections wait, as does what they send.
    pub fn hold(&self) {
        self.enter(Mode::Holding);
    }

    /// Requests that begin with `start` wait on their connection, such as `PUT /`.
    pub fn hold_requests(&self, start: &'static str) {
        self.enter(Mode::HoldingRequests(start));
    }

    /// Waits until a connection waits.
    ///
    /// # Panics
    /// Never while the proxy exists.
    pub async fn held(&self) {
        let mut control = self.0.subscribe();
        let held = control.wait_for(|control| control.held > 0).await;
        held.expect("the sender is in self");
    }

    /// Ends what [`disconnect`](Self::disconnect), [`hold`](Self::hold) or
    /// [`hold_requests`](Self::hold_requests) began.
    pub fn resume(&self) {
        self.enter(Mode::Forwarding);
    }

    fn enter(&self, mode: Mode) {
        self.0.send_modify(|control| control.mode = mode);
    }

    async fn accept(self, listener: TcpListener, target: String) {
        while let Ok((client, _)) = listener.accept().await {
            let (proxy, target) = (self.clone(), target.clone());
            tokio::spawn(async move { proxy.forward(client, target).await });
        }
    }

    /// Returns when the connection is to be closed.
    async fn forward(self, mut client: TcpStream, target: String) -> Option<()> {
        let mut control = self.0.subscribe();
        let begun = *control.borrow_and_update();
        if begun.mode == Mode::Holding {
            self.0.send_modify(|control| control.held += 1);
        }
        let left = control.wait_for(|control| control.mode != Mode::Holding);
        if left.await.ok()?.mode == Mode::Refusing {
            return None;
        }
        let mut server = TcpStream::connect(target).await.ok()?;
        let ended = control.wait_for(|control| {
            control.mode == Mode::Refusing || control.vanished != begun.vanished
        });
        let (requests, mut to_client) = client.split();
        let (mut responses, to_server) = server.split();
        let back = async {
            copy(&mut responses, &mut to_client).await?;
            to_client.shutdown().await
        };
        let ended = tokio::select! {
            _ = async { tokio::try_join!(self.pass(requests, to_server), back) } => return None,
            ended = ended => *ended.ok()?,
        };
        if ended.mode != Mode::Refusing {
            // Both sockets stay open for as long as the runtime lives.
            pending::<()>().await;
        }
        None
    }

    /// Forwards what a client sends, except while its request is held.
    async fn pass(&self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
        let mut control = self.0.subscribe();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = from.read(&mut buffer).await?;
            if count == 0 {
                return to.shutdown().await;
            }
            let begun = control.borrow_and_update().mode;
            if let Mode::HoldingRequests(start) = begun
                && buffer.starts_with(start.as_bytes())
            {
                self.0.send_modify(|control| control.held += 1);
                let left = control.wait_for(|control| control.mode != begun);
                left.await.map_err(io::Error::other)?;
            }
            to.write_all(&buffer[..count]).await?;
        }
    }
}
