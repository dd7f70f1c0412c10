//! What other services learn of an account.

use std::sync::{Arc, Mutex};

use axum::{Json, Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use quartet_events::Signer;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

use crate::support::{ADA, EVE, ME, PASSWORD, TestApp};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

type Received = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// A consumer that applies whatever it receives.
async fn consumer() -> (Url, Received) {
    let received = Received::default();
    let receive = |State(received): State<Received>, headers: HeaderMap, body: Bytes| async move {
        received.lock().unwrap().push((headers, body));
        Json(json!({ "failed": [] }))
    };
    let router = Router::new().route("/internal/events", post(receive));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = router.with_state(Arc::clone(&received));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url.parse().unwrap(), received)
}

#[tokio::test]
async fn the_deletion_of_an_account_reaches_each_consumer_once() {
    let (media, links) = (consumer().await, consumer().await);
    let app = TestApp::start_with(|config| {
        config.events.secret = Some(SecretString::from(SECRET));
        config.events.media_url = Some(media.0.clone());
        config.events.links_url = Some(links.0.clone());
    })
    .await;
    let ada = app.sign_up(ADA).await;
    let tokens = app.log_in(ADA).await;
    app.state.deliver_events_once().await.unwrap();
    assert!(media.1.lock().unwrap().is_empty());
    assert_eq!(
        app.delete_account(tokens.access(), PASSWORD).await.status(),
        204
    );
    app.state.deliver_events_once().await.unwrap();
    app.state.deliver_events_once().await.unwrap();
    assert_eq!(app.metric("events_published_total"), 1);
    for (_, received) in [media, links] {
        let received = received.lock().unwrap();
        let [(headers, body)] = received.as_slice() else {
            panic!("{received:?}");
        };
        let signer = Signer::new(&SECRET.into()).unwrap();
        signer.verify(headers, app.clock.now(), body).unwrap();
        let events: Value = serde_json::from_slice(body).unwrap();
        let event = &events[0];
        assert_eq!(events.as_array().unwrap().len(), 1);
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["type"], "user.deleted");
        assert_eq!(event["source"], "/v1/core");
        assert_eq!(event["subject"], ada["id"]);
        assert_eq!(event["data"], json!({ "user_id": ada["id"] }));
        assert!(event["traceparent"].is_string());
        let text = String::from_utf8_lossy(body);
        assert!(!text.contains("example.com"), "no personal data: {text}");
    }
}

#[tokio::test]
async fn a_deletion_that_fails_publishes_nothing() {
    let app = TestApp::start().await;
    app.sign_up(ADA).await;
    let tokens = app.join(EVE).await;
    let request = app.request(reqwest::Method::DELETE, ME);
    let request = request.bearer_auth(tokens.access());
    let refused = request
        .header("if-match", "\"other\"")
        .json(&json!({"current_password": PASSWORD}))
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 412);
    let events = "SELECT count(*) FROM core.outbox";
    assert_eq!(app.number(events).await, 0);
    assert_eq!(
        app.delete_account(tokens.access(), PASSWORD).await.status(),
        204
    );
    assert_eq!(app.number(events).await, 1);
    // Without a consumer it is kept for as long as it would wait for one.
    app.advance(29 * 24 * 3600);
    app.state.run_jobs_once().await.unwrap();
    assert_eq!(app.number(events).await, 1);
    app.advance(2 * 24 * 3600);
    app.state.run_jobs_once().await.unwrap();
    assert_eq!(app.number(events).await, 0);
}
