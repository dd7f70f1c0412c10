//! A TCP proxy in front of Postgres whose connections can be cut.

use std::sync::Arc;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

pub(crate) struct Proxy {
    connected: Arc<watch::Sender<bool>>,
}

impl Proxy {
    /// Forwards to the server of a Postgres URL; returns the URL of the proxy. Starts disconnected.
    pub(crate) async fn start(database_url: &str) -> (Self, String) {
        let target = database_url
            .split('@')
            .nth(1)
            .and_then(|rest| rest.split('/').next());
        let target = target.unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connected = Arc::new(watch::channel(true).0);
        let url = database_url.replace(&target, &address.to_string());
        tokio::spawn(forward(listener, target, Arc::clone(&connected)));
        (Self { connected }, url)
    }

    /// Closes every connection and accepts no more.
    pub(crate) fn disconnect(&self) {
        self.connected.send_replace(false);
    }

    pub(crate) fn reconnect(&self) {
        self.connected.send_replace(true);
    }
}

async fn forward(listener: TcpListener, target: String, connected: Arc<watch::Sender<bool>>) {
    while let Ok((mut client, _)) = listener.accept().await {
        let mut state = connected.subscribe();
        if !*state.borrow() {
            continue;
        }
        let target = target.clone();
        tokio::spawn(async move {
            let Ok(mut server) = TcpStream::connect(target).await else {
                return;
            };
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => {}
                _ = state.wait_for(|connected| !connected) => {}
            }
        });
    }
}
