//! A small service on a loopback port.

#![expect(
    clippy::unwrap_used,
    reason = "only tests call this; a panic fails the test"
)]

use std::{net::SocketAddr, sync::Arc};

use axum::Router;
use quartet_common::{
    clock::Clock,
    config::{self, COMMON_DEFAULTS, Server},
};
use quartet_http::{
    front::{App, Front},
    health::{self, Readiness},
    layers::{Stack, standard},
    serve::serve,
};
use quartet_telemetry::metrics::Metrics;
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
    #[serde(rename = "worker")]
    _worker: toml::Value,
    #[serde(rename = "telemetry")]
    _telemetry: toml::Value,
}

pub fn server_settings() -> Server {
    config::load::<Settings>(&[COMMON_DEFAULTS], None, [])
        .unwrap()
        .server
}

/// A small service on a loopback port.
pub struct RunningServer {
    pub address: SocketAddr,
    pub readiness: Readiness,
    pub shutdown: CancellationToken,
    pub served: JoinHandle<std::io::Result<()>>,
}

pub async fn start(router: Router, change: impl FnOnce(&mut Server)) -> RunningServer {
    start_behind(None, router, change).await
}

/// The same with a front before the router.
pub async fn start_behind(
    front: Option<Arc<dyn Front>>,
    router: Router,
    change: impl FnOnce(&mut Server),
) -> RunningServer {
    let mut settings = server_settings();
    change(&mut settings);
    let metrics = Metrics::new("test");
    let readiness = Readiness::new();
    let stack = Stack::new(Clock::system(), metrics.clone(), &settings);
    let router = standard(router, stack.clone(), &settings)
        .merge(health::router(readiness.clone(), metrics));
    let mut app = App::from(router);
    if let Some(front) = front {
        app = app.with_front(front, stack);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let served = tokio::spawn({
        let (readiness, shutdown) = (readiness.clone(), shutdown.clone());
        async move { serve(listener, app, &settings, &readiness, shutdown).await }
    });
    RunningServer {
        address,
        readiness,
        shutdown,
        served,
    }
}

impl RunningServer {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// Signals that a handler runs, and blocks it until the test opens the gate.
#[derive(Clone, Default)]
pub struct Gate {
    pub entered: Arc<tokio::sync::Notify>,
    pub leave: Arc<tokio::sync::Notify>,
}

impl Gate {
    pub async fn pass(&self) {
        self.entered.notify_one();
        self.leave.notified().await;
    }
}
