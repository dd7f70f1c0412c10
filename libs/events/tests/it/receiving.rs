//! What the receiver accepts, and what it refuses.

use chrono::TimeDelta;
use http::{HeaderMap, StatusCode};
use quartet_events::{Inbox, Signer};
use quartet_telemetry::metrics::Metrics;
use reqwest::Response;
use serde_json::{Value, json};

use crate::support::{Counting, Place, SECRET, Served};

const BATCH: &str = "application/cloudevents-batch+json";

fn cloud_event(id: &str, number: i64) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/v1/core", "type": "subject.counted",
        "subject": "ada", "time": "2026-01-01T00:00:00Z", "data": { "number": number },
    })
}

async fn post(served: &Served, headers: HeaderMap, kind: &str, body: &str) -> Response {
    reqwest::Client::new()
        .post(format!("http://{}/internal/events", served.address))
        .headers(headers)
        .header("content-type", kind)
        .body(body.to_owned())
        .send()
        .await
        .unwrap()
}

fn sign(place: &Place, secret: &str, body: &str) -> HeaderMap {
    let signer = Signer::new(&secret.into()).unwrap();
    signer.sign("batch", place.clock.now(), body.as_bytes())
}

#[tokio::test]
async fn requests_that_are_not_signed_change_nothing() {
    let place = Place::new().await;
    let served = place.consumer(Counting::default()).await;
    let body = json!([cloud_event("1", 1)]).to_string();
    let foreign = sign(&place, "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", &body);
    let other = sign(&place, SECRET, "[]");
    let old = sign(&place, SECRET, &body);
    place.advance(301);
    for headers in [HeaderMap::new(), foreign, other, old] {
        let refused = post(&served, headers, BATCH, &body).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    }
    let (db, clock) = (place.db.clone(), place.clock.clone());
    let closed = Inbox::new(
        db,
        clock,
        None,
        &Metrics::new("closed"),
        Counting::default(),
    );
    assert_eq!(
        closed.notices(),
        ["events.secret is not set: no events are received"]
    );
    let closed = Served::start(closed.router()).await;
    let refused = post(&closed, sign(&place, SECRET, &body), BATCH, &body).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(place.number("SELECT count(*) FROM effects").await, 0);
}

#[tokio::test]
async fn an_event_is_applied_once_however_often_it_arrives() {
    let place = Place::new().await;
    let served = place.consumer(Counting::default()).await;
    let body = json!([
        cloud_event("1", 1),
        cloud_event("2", 2),
        cloud_event("1", 1)
    ])
    .to_string();
    let headers = sign(&place, SECRET, &body);
    let many = (0..8).map(|_| post(&served, headers.clone(), BATCH, &body));
    for response in futures_util::future::join_all(many).await {
        assert_eq!(response.status(), StatusCode::OK);
        let receipt: Value = response.json().await.unwrap();
        assert_eq!(receipt, json!({ "failed": [] }));
    }
    assert_eq!(place.effects("ada").await, [1, 2]);
}

#[tokio::test]
async fn forms_of_events() {
    let place = Place::new().await;
    let served = place.consumer(Counting::default()).await;
    let single = "application/cloudevents+json";
    let with = |name: &str, value: Value| {
        let mut event = cloud_event("3", 1);
        event[name] = value;
        event
    };
    let failed =
        |reason: &str| json!({ "failed": [{ "id": "3", "reason": reason, "held": false }] });
    let none = || json!({ "failed": [] });
    let cases = [
        (single, cloud_event("1", 1), 200, none()),
        (
            "application/cloudevents-batch+json; charset=utf-8",
            json!([cloud_event("2", 2)]),
            200,
            none(),
        ),
        (BATCH, json!([]), 200, none()),
        (
            BATCH,
            json!([with("type", json!("user.invented"))]),
            200,
            none(),
        ),
        (
            BATCH,
            json!([with("specversion", json!("0.3"))]),
            200,
            failed("`specversion` must be 1.0"),
        ),
        (
            BATCH,
            json!([with("subject", json!(""))]),
            200,
            failed("`subject` must have 1 to 200 bytes"),
        ),
        (
            BATCH,
            json!([with("source", json!("x".repeat(201)))]),
            200,
            failed("`source` must have 1 to 200 bytes"),
        ),
        (
            BATCH,
            json!([with("time", json!("yesterday"))]),
            422,
            Value::Null,
        ),
        (BATCH, json!([{ "id": "3" }]), 422, Value::Null),
        (BATCH, cloud_event("3", 1), 422, Value::Null),
        (single, json!([cloud_event("3", 1)]), 422, Value::Null),
        (
            "application/json",
            json!([cloud_event("3", 1)]),
            415,
            Value::Null,
        ),
    ];
    for (kind, body, status, expected) in cases {
        let text = body.to_string();
        let response = post(&served, sign(&place, SECRET, &text), kind, &text).await;
        assert_eq!(response.status(), status, "{kind} {text}");
        if status == 200 {
            assert_eq!(response.json::<Value>().await.unwrap(), expected, "{text}");
        }
    }
    assert_eq!(place.effects("ada").await, [1, 2]);
}

#[tokio::test]
async fn ids_are_forgotten_once_no_event_can_arrive_again() {
    let place = Place::new().await;
    let inbox = place.inbox(Counting::default());
    let served = Served::start(inbox.router()).await;
    let body = json!([cloud_event("1", 1)]).to_string();
    post(&served, sign(&place, SECRET, &body), BATCH, &body).await;
    place.clock.advance(TimeDelta::days(99));
    inbox.purge(&|| false).await.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM inbox").await, 1);
    place.clock.advance(TimeDelta::days(2));
    inbox.purge(&|| false).await.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM inbox").await, 0);
}
