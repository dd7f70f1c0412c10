//! `/health?deep=1`: who may know it, and what it says.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, routing::get};
use http::StatusCode;
use serde_json::Value;

use crate::support::{Gateway, client, eventually, free_address, serve};

const TOKEN: &str = "0123456789abcdef";

/// Counts how often it is asked, and answers with a status that can be changed.
#[derive(Clone, Default)]
struct Service {
    asked: Arc<AtomicUsize>,
    is_broken: Arc<std::sync::atomic::AtomicBool>,
}

impl Service {
    async fn serve(&self) -> std::net::SocketAddr {
        let this = self.clone();
        serve(Router::new().route(
            "/alive",
            get(async move || {
                this.asked.fetch_add(1, Ordering::Relaxed);
                if this.is_broken.load(Ordering::Relaxed) {
                    StatusCode::INTERNAL_SERVER_ERROR
                } else {
                    StatusCode::NO_CONTENT
                }
            }),
        ))
        .await
    }
}

fn settings(a: std::net::SocketAddr, b: std::net::SocketAddr, health: &str) -> String {
    format!(
        "shipped_routes = false\n[upstreams.a]\naddresses = [\"{a}\"]\n[upstreams.b]\naddresses = [\"{b}\"]\n\
         [health]\npath = \"/alive\"\ntimeout_ms = 500\n{health}\n\
         [routes.health]\npaths = [\"/health\"]\nserve = \"health\"\nauth = \"public\"\n"
    )
}

async fn ask(gateway: &Gateway, path: &str, authorization: &str) -> (u16, Value) {
    let request = client()
        .get(gateway.url(path))
        .header("authorization", authorization);
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_are_shown_to_those_who_may_know() {
    let service = Service::default();
    let (a, b) = (service.serve().await, free_address());
    let token = format!("token = \"{TOKEN}\"");
    let gateway = Gateway::start(&settings(a, b, &token)).await;
    let good = format!("Bearer {TOKEN}");
    let (status, body) = ask(&gateway, "/health?deep=1", &good).await;
    assert_eq!(
        (status, &body["status"]),
        (200, &"degraded".into()),
        "{body}"
    );
    let [a_health, b_health] = body["upstreams"].as_array().unwrap().as_slice() else {
        panic!("{body}");
    };
    assert_eq!(
        (&a_health["name"], &a_health["is_up"]),
        (&"a".into(), &true.into())
    );
    assert_eq!(
        (&a_health["status"], &a_health["needed"]),
        (&204.into(), &false.into())
    );
    assert_eq!(
        (&b_health["name"], &b_health["is_up"]),
        (&"b".into(), &false.into())
    );
    assert!(b_health["error"].is_string(), "{body}");
    // Who may not know gets the plain page, and asks no upstream.
    let asked = service.asked.load(Ordering::Relaxed);
    for (path, authorization) in [
        ("/health", &*good),
        ("/health?deep=0", &*good),
        ("/health?deep=1", "Bearer 0123456789abcdeg"),
        ("/health?deep=1", "Bearer 0123456789abcde"),
        ("/health?deep=1", "Bearer "),
        ("/health?deep=1", "Basic 0123456789abcdef"),
        ("/health?deep=1", TOKEN),
    ] {
        let (status, body) = ask(&gateway, path, authorization).await;
        assert_eq!(
            (status, body.to_string().as_str()),
            (200, r#"{"status":"ok"}"#),
            "{authorization}"
        );
    }
    assert_eq!(service.asked.load(Ordering::Relaxed), asked);
    // By network, without a token.
    let networks = "allowed_networks = [\"127.0.0.0/8\"]";
    gateway.reload(&settings(a, b, networks)).await;
    let (_, body) = ask(&gateway, "/health?deep=1", "").await;
    assert_eq!(body["status"], "degraded");
    let error = gateway
        .refused_reload(&settings(a, b, "token = \"short\""))
        .await;
    assert!(
        error.contains("`health.token`") && error.contains("must have at least 16 bytes"),
        "{error}"
    );
    let error = gateway
        .refused_reload(&settings(a, b, "needed = [\"c\"]"))
        .await;
    assert!(error.contains("there is no upstream `c`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_needed_decides() {
    let (a, b) = (Service::default(), Service::default());
    let health = format!("token = \"{TOKEN}\"\nneeded = [\"b\"]");
    let settings = settings(a.serve().await, b.serve().await, &health);
    let gateway = Gateway::start(&settings).await;
    let good = format!("Bearer {TOKEN}");
    let reaches = async |expected: (u16, &str)| {
        eventually("the health is as expected", || async {
            let (status, body) = ask(&gateway, "/health?deep=1", &good).await;
            (status == expected.0 && body["status"] == expected.1).then_some(())
        })
        .await;
    };
    reaches((200, "ok")).await;
    a.is_broken.store(true, Ordering::Relaxed);
    reaches((200, "degraded")).await;
    b.is_broken.store(true, Ordering::Relaxed);
    reaches((503, "down")).await;
    a.is_broken.store(false, Ordering::Relaxed);
    b.is_broken.store(false, Ordering::Relaxed);
    reaches((200, "ok")).await;
}

/// Clients that ask at the same time, or within a second, cost one request to each replica.
#[tokio::test(flavor = "multi_thread")]
async fn upstreams_are_asked_once_a_second() {
    let (a, b) = (Service::default(), Service::default());
    let health = format!("token = \"{TOKEN}\"");
    let settings = settings(a.serve().await, b.serve().await, &health);
    let gateway = Gateway::start(&settings).await;
    let good = format!("Bearer {TOKEN}");
    let started = std::time::Instant::now();
    let asks = (0..40).map(|_| ask(&gateway, "/health?deep=1", &good));
    futures_util::future::join_all(asks).await;
    let seconds = usize::try_from(started.elapsed().as_secs()).unwrap();
    let asked = a.asked.load(Ordering::Relaxed);
    assert!((1..=2 + seconds).contains(&asked), "{asked} in {seconds} s");
}
