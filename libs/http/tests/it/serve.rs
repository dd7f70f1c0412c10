use axum::{Router, routing::get};
use quartet_common::cli;
use quartet_http::health::{self, Readiness};
use quartet_telemetry::metrics::Metrics;
use reqwest::StatusCode;

use quartet_testing::server::{Gate, start};

#[tokio::test]
async fn shutdown_answers_what_is_in_flight_and_takes_nothing_new() {
    let gate = Gate::default();
    let inside = gate.clone();
    let router = Router::new().route(
        "/work",
        get(move || async move {
            inside.pass().await;
            "done"
        }),
    );
    let running = start(router, |_| {}).await;
    let request = tokio::spawn(reqwest::get(running.url("/work")));
    gate.entered.notified().await;
    running.shutdown.cancel();
    let refused = async {
        while reqwest::get(running.url("/health")).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), refused)
        .await
        .unwrap();
    assert!(running.readiness.is_draining());
    gate.leave.notify_one();
    let response = request.await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.text().await.unwrap(), "done");
    running.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_that_outlives_the_grace_time_is_reported() {
    let router = Router::new().route("/work", get(std::future::pending::<()>));
    let running = start(router, |server| server.shutdown_grace_seconds = 0).await;
    let request = tokio::spawn(reqwest::get(running.url("/work")));
    // The request is in flight once it is counted.
    loop {
        let text = reqwest::get(running.url("/metrics"))
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        if text.contains(r#"http_request_method="GET"} 1"#) {
            break;
        }
    }
    running.shutdown.cancel();
    assert!(running.served.await.unwrap().is_err());
    request.abort();
}

/// It would keep its place for good, which here is the only one.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_reads_nothing_is_disconnected() {
    let router = Router::new().route("/large", get(async || vec![b'x'; 16 << 20]));
    let running = start(router, |server| {
        server.request_timeout_seconds = 1;
        server.max_connections = 1;
    })
    .await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(running.address).await.unwrap();
    let request = b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, request)
        .await
        .unwrap();
    let health = reqwest::get(running.url("/health"));
    let health = tokio::time::timeout(std::time::Duration::from_secs(20), health).await;
    let response = health.expect("there is room again").unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    drop(stream);
}

#[tokio::test]
async fn the_health_check_says_what_is_missing() {
    let store = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let answers = store.clone();
    let readiness = Readiness::new().check("store", move || {
        let answers = answers.load(std::sync::atomic::Ordering::Relaxed);
        async move {
            answers
                .then_some(())
                .ok_or_else(|| "does not respond".to_owned())
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = health::router(readiness, Metrics::new("test"));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let check = async |path: &'static str| {
        let asked = tokio::task::spawn_blocking(move || cli::healthcheck(address, path));
        asked.await.unwrap()
    };
    check("/health").await.unwrap();
    let message = check("/ready").await.unwrap_err().to_string();
    assert!(
        message.contains("503") && message.contains("does not respond"),
        "{message}"
    );
    store.store(true, std::sync::atomic::Ordering::Relaxed);
    tokio::time::timeout(std::time::Duration::from_secs(5), async {
        while check("/ready").await.is_err() {}
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn while_it_drains_requests_are_answered_and_their_connections_closed() {
    let router = Router::new().route("/work", get(async || "done"));
    let running = start(router, |server| server.drain_seconds = 1).await;
    let client = reqwest::Client::new();
    let ask = async || client.get(running.url("/work")).send().await;
    let before = ask().await.unwrap();
    assert!(!before.headers().contains_key("connection"));
    before.bytes().await.unwrap();
    running.shutdown.cancel();
    // The first of these goes over the connection of the one before.
    let mut answered = 0;
    loop {
        let draining = running.readiness.is_draining();
        let Ok(response) = ask().await else { break };
        if draining {
            assert_eq!(response.headers()["connection"], "close");
            answered += 1;
        }
        assert_eq!(response.text().await.unwrap(), "done");
    }
    assert!(answered > 1, "only {answered} were answered");
    running.served.await.unwrap().unwrap();
}
