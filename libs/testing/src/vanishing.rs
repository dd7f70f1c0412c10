//! A TCP proxy whose connections can go silent, as after a failover that closes none.

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Connections to one address.
#[derive(Debug)]
pub struct Vanishing {
    /// How often all connections have gone silent.
    generation: watch::Sender<u64>,
}

impl Vanishing {
    /// Forwards to the server of a URL; returns the URL through the proxy.
    ///
    /// # Panics
    /// When the URL has no host and port, or no port is free.
    pub async fn start(url: &str) -> (Self, String) {
        let place = url
            .split('@')
            .nth(1)
            .and_then(|rest| rest.split('/').next());
        let target = place.expect("user@host:port/").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let generation = watch::channel(0).0;
        let through = url.replace(&target, &address.to_string());
        tokio::spawn(forward(listener, target, generation.subscribe()));
        (Self { generation }, through)
    }

    /// From now on, nothing passes on the connections that are open, and none is closed. New ones work.
    pub fn vanish(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }
}

async fn forward(listener: TcpListener, target: String, generation: watch::Receiver<u64>) {
    while let Ok((mut client, _)) = listener.accept().await {
        let mut generation = generation.clone();
        generation.mark_unchanged();
        let target = target.clone();
        tokio::spawn(async move {
            let Ok(mut server) = TcpStream::connect(target).await else {
                return;
            };
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => {}
                Ok(()) = generation.changed() => {
                    // Both sockets stay open for as long as the runtime lives.
                    std::future::pending::<()>().await;
                }
            }
        });
    }
}
