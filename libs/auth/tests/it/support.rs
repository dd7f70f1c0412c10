use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Json, Router,
    response::{IntoResponse, Response},
    routing::get,
};
use chrono::{TimeZone, Utc};
use quartet_auth::jwt::JwtVerifier;
use quartet_common::clock::Clock;
use quartet_testing::Issuer;
use reqwest::StatusCode;
use tokio::sync::{Notify, Semaphore};

pub(crate) fn clock() -> Clock {
    Clock::manual(Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap())
}

/// Publishes keys over a real socket, and misbehaves on demand.
#[derive(Clone)]
pub(crate) struct PublishedKeys {
    keys: Arc<Mutex<Option<serde_json::Value>>>,
    asked: Arc<AtomicUsize>,
    /// A permit lets one response out.
    gate: Arc<Mutex<Option<Arc<Semaphore>>>>,
    entered: Arc<Notify>,
    address: SocketAddr,
}

impl PublishedKeys {
    /// A server without keys: it responds 503.
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            keys: Arc::default(),
            asked: Arc::default(),
            gate: Arc::default(),
            entered: Arc::default(),
            address: listener.local_addr().unwrap(),
        };
        let served = this.clone();
        let route = get(move || served.clone().respond());
        let router = Router::new().route("/.well-known/jwks.json", route);
        tokio::spawn(async move { axum::serve(listener, router).await });
        this
    }

    async fn respond(self) -> Response {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.entered.notify_one();
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        let keys = self.keys.lock().unwrap().clone();
        keys.map_or_else(
            || StatusCode::SERVICE_UNAVAILABLE.into_response(),
            |keys| Json(keys).into_response(),
        )
    }

    pub(crate) fn verifier(&self, issuer: &Issuer, clock: &Clock) -> JwtVerifier {
        JwtVerifier::new(&issuer.settings(self.address), clock.clone()).unwrap()
    }

    pub(crate) fn publish(&self, issuer: &Issuer) {
        *self.keys.lock().unwrap() = Some(serde_json::to_value(issuer.jwks()).unwrap());
    }

    /// The keys of the issuer, after others.
    pub(crate) fn publish_after(&self, others: Vec<serde_json::Value>, issuer: &Issuer) {
        let mut keys = others;
        let own = issuer.jwks().keys.iter();
        keys.extend(own.map(|key| serde_json::to_value(key).unwrap()));
        self.publish_keys(&keys);
    }

    /// These keys, whatever they are.
    pub(crate) fn publish_keys(&self, keys: &[serde_json::Value]) {
        *self.keys.lock().unwrap() = Some(serde_json::json!({ "keys": keys }));
    }

    pub(crate) fn withdraw(&self) {
        *self.keys.lock().unwrap() = None;
    }

    /// From now on a response waits for a permit.
    pub(crate) fn hold(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.gate.lock().unwrap() = Some(Arc::clone(&gate));
        gate
    }

    pub(crate) async fn entered(&self) {
        self.entered.notified().await;
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}
