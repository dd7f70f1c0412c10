use axum::{Router, routing::get};
use reqwest::StatusCode;

use crate::support::{Gate, start};

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
