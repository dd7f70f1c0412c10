use std::{net::SocketAddr, sync::Arc};

use axum::Router;
use quartet_common::{
    clock::Clock,
    config::{self, COMMON_DEFAULTS, Server},
    health::{self, Readiness},
    layers::{Stack, standard},
    metrics::Metrics,
    serve::serve,
};
use serde::Deserialize;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

#[derive(Deserialize)]
struct Settings {
    server: Server,
    #[serde(rename = "database")]
    _database: toml::Value,
    #[serde(rename = "jwt")]
    _jwt: toml::Value,
    #[serde(rename = "telemetry")]
    _telemetry: toml::Value,
}

pub(crate) fn server_settings() -> Server {
    config::load::<Settings>(&[COMMON_DEFAULTS], None, [])
        .unwrap()
        .server
}

/// A small service on a loopback port.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) readiness: Readiness,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: JoinHandle<std::io::Result<()>>,
}

pub(crate) async fn start(router: Router, change: impl FnOnce(&mut Server)) -> Running {
    let mut settings = server_settings();
    change(&mut settings);
    let metrics = Metrics::new("test");
    let readiness = Readiness::new();
    let stack = Stack::new(Clock::system(), metrics.clone(), &settings);
    let router =
        standard(router, stack, &settings).merge(health::router(readiness.clone(), metrics));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let served = tokio::spawn({
        let (readiness, shutdown) = (readiness.clone(), shutdown.clone());
        async move { serve(listener, router, &settings, &readiness, shutdown).await }
    });
    Running {
        address,
        readiness,
        shutdown,
        served,
    }
}

impl Running {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// Lets a handler tell that it runs, and waits until the test lets it go on.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    pub(crate) entered: Arc<tokio::sync::Notify>,
    pub(crate) leave: Arc<tokio::sync::Notify>,
}

impl Gate {
    pub(crate) async fn pass(&self) {
        self.entered.notify_one();
        self.leave.notified().await;
    }
}
