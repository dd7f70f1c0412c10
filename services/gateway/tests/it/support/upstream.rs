//! Small services behind the gateway.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use axum::{
    Json, Router,
    extract::Request,
    routing::{any, get},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Runtime, sync::Semaphore};

/// Serves on a free loopback port until the test ends.
pub(crate) async fn serve(router: Router) -> SocketAddr {
    serve_on("127.0.0.1:0".parse().unwrap(), router).await
}

pub(crate) async fn serve_on(address: SocketAddr, router: Router) -> SocketAddr {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Responds to every request with its content.
pub(crate) fn echo() -> Router {
    Router::new().fallback(any(|request: Request| async move {
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX)
            .await
            .unwrap_or_default();
        let headers: Vec<Value> = head
            .headers
            .iter()
            .map(|(name, value)| json!([name.as_str(), value.to_str().unwrap_or("?")]))
            .collect();
        Json(json!({
            "method": head.method.as_str(),
            "path": head.uri.to_string(),
            "headers": headers,
            "body_bytes": body.len(),
        }))
    }))
}

/// An upstream whose response to `/held` waits for a permit.
pub(crate) async fn held() -> (SocketAddr, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&permits);
    let router = Router::new()
        .route(
            "/held",
            get(move || async move {
                wait.acquire().await.unwrap().forget();
                "released"
            }),
        )
        .fallback(get(|| async { "ok" }));
    (serve(router).await, permits)
}

/// A service in a runtime of its own, so that killing it cuts its connections.
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    pub(crate) served: Arc<AtomicUsize>,
    runtime: Option<Runtime>,
}

impl Replica {
    pub(crate) fn start(ip: IpAddr, port: u16) -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = thread::scope(|scope| {
            let bind = TcpListener::bind(SocketAddr::new(ip, port));
            scope.spawn(|| runtime.block_on(bind)).join().unwrap().ok()
        })?;
        let address = listener.local_addr().unwrap();
        let served = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&served);
        let router = Router::new().fallback(any(move || async move {
            count.fetch_add(1, Ordering::Relaxed);
            // So that requests are in flight when a replica is killed.
            tokio::task::yield_now().await;
            address.to_string()
        }));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Some(Self {
            address,
            served,
            runtime: Some(runtime),
        })
    }

    /// Replicas on 127.0.0.2 and up, all with one port, as behind one name.
    pub(crate) fn start_several(count: u8) -> Vec<Self> {
        for _ in 0..50 {
            let first = Self::start([127, 0, 0, 2].into(), 0).unwrap();
            let port = first.address.port();
            let rest = (1..count).map(|n| Self::start([127, 0, 0, 2 + n].into(), port));
            if let Some(rest) = rest.collect::<Option<Vec<_>>>() {
                return std::iter::once(first).chain(rest).collect();
            }
        }
        panic!("no port is free on all addresses");
    }

    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// Cuts every connection and stops listening.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}
