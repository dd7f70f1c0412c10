//! Events through NATS, with a real server.

mod fit;
mod kills;
mod login;
mod order;
mod retries;

use async_nats::{
    HeaderMap,
    jetstream::{self, Context, consumer::PullConsumer},
};
use chrono::{DateTime, Utc};
use quartet_common::clock::Clock;
use quartet_events::{Delivery, Event, Inbox, Nats, NewEvent, Outbox, Signer};
use quartet_jobs::Runner;
use quartet_telemetry::metrics::Metrics;
use quartet_testing::NatsServer;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{Counting, Place, SECRET, delivery, until};

const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const SUBJECT: &str = "quartet.events.core.subject.counted";

/// How core delivers through the stream.
fn through(url: &str) -> Delivery {
    let mut delivery = delivery(([127, 0, 0, 1], 1).into());
    delivery.consumers.clear();
    delivery.request_timeout_seconds = 2;
    delivery.nats = Some(Nats::new(&url.into()).unwrap());
    delivery
}

fn outbox(place: &Place, server: &NatsServer) -> Outbox {
    outbox_at(place, &server.url())
}

fn outbox_at(place: &Place, url: &str) -> Outbox {
    let (db, clock) = (place.db.clone(), place.clock.clone());
    Outbox::new("core", through(url), db, clock, &place.metrics).unwrap()
}

async fn context(server: &NatsServer) -> Context {
    jetstream::new(async_nats::connect(server.url()).await.unwrap())
}

/// A replica of the consumer `media`.
struct Consuming {
    metrics: Metrics,
    inbox: Inbox,
    _runner: Runner,
}

impl Consuming {
    fn start(place: &Place, server: &NatsServer, counting: Counting) -> Self {
        Self::start_at(place, &server.url(), counting)
    }

    fn start_at(place: &Place, url: &str, counting: Counting) -> Self {
        let metrics = Metrics::new("media");
        let (db, clock) = (place.db.clone(), place.clock.clone());
        let signer = Signer::new(&SECRET.into());
        let inbox = Inbox::new(db, clock, signer, &metrics, counting);
        let stop = CancellationToken::new();
        let mut runner = Runner::new(&metrics, Clock::system(), stop);
        let nats = Nats::new(&url.into()).unwrap();
        inbox.start(&nats, "media", &mut runner);
        Self {
            metrics,
            inbox,
            _runner: runner,
        }
    }

    fn received(&self, outcome: &str, count: u32) -> bool {
        let line = format!("outcome=\"{outcome}\"}} {count}");
        self.metrics.render().contains(&line)
    }

    fn shows(&self, metric: &str, value: &str) -> bool {
        let text = self.metrics.render();
        let mut lines = text.lines();
        lines.any(|line| {
            line.starts_with(metric)
                && line.contains("consumer=\"media\"")
                && line.ends_with(&format!("}} {value}"))
        })
    }
}

/// Messages that `media` has not acknowledged.
async fn unacknowledged(server: &NatsServer) -> u64 {
    let context = context(server).await;
    let consumer = context.get_consumer_from_stream("media", "QUARTET_EVENTS");
    let mut consumer: PullConsumer = consumer.await.unwrap();
    let info = consumer.info().await.unwrap();
    info.num_pending + info.num_ack_pending as u64
}

/// Publishes a message about `ada` with the id `id`, and the signature of a message `signed` of the
/// time `at`.
async fn forge(context: &Context, id: &str, (secret, signed): (&str, &str), at: DateTime<Utc>) {
    let event = Event::new(id, "/v1/core", "subject.counted", "ada", at);
    let event = event.with_data(json!({ "number": 9 }));
    let body = serde_json::to_string(&event).unwrap();
    let signer = Signer::new(&secret.into()).unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in &signer.sign(signed, at, body.as_bytes()) {
        headers.insert(name.as_str(), value.to_str().unwrap());
    }
    let sent = context.publish_with_headers(SUBJECT, headers, body.into());
    sent.await.unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_loses_no_event() {
    let place = Place::new().await;
    let Some(mut server) = NatsServer::start() else {
        return;
    };
    let outbox = outbox(&place, &server);
    place.publish(&outbox, "ada").await;
    outbox.deliver_once().await.unwrap();
    // No consumer has run yet.
    server.kill();
    place.publish(&outbox, "ada").await;
    let error = outbox.deliver_once().await.unwrap_err().to_string();
    assert!(
        error.starts_with("nats does not accept events now"),
        "{error}"
    );
    server.restart();
    let consuming = Consuming::start(&place, &server, Counting::default());
    until(async || place.effects("ada").await == [1]).await;
    outbox.deliver_once().await.unwrap();
    until(async || place.effects("ada").await == [1, 2]).await;
    // The consumer waits for messages, and the publisher has a connection.
    server.kill();
    server.restart();
    place.publish(&outbox, "ada").await;
    until(async || outbox.deliver_once().await.is_ok()).await;
    until(async || place.effects("ada").await == [1, 2, 3]).await;
    place.assert_all_once_in_order().await;
    // Counted after it was committed.
    until(async || consuming.received("applied", 3)).await;
    assert_eq!(place.metric("events_waiting{"), "0");
    assert!(place.metric("events_delivered_total{") == "3");
}

/// The stream keeps nothing for a consumer that does not exist.
#[tokio::test(flavor = "multi_thread")]
async fn consumers_exist_before_the_first_event_and_are_created_again() {
    let place = Place::new().await;
    let Some(server) = NatsServer::start() else {
        return;
    };
    let consuming = Consuming::start(&place, &server, Counting::default());
    until(async || {
        consuming
            .metrics
            .render()
            .contains("job_failures_total{service=\"media\",job_name=\"events\"} 1")
    })
    .await;
    let stream = context(&server).await.get_stream("QUARTET_EVENTS").await;
    assert!(stream.is_err(), "a consumer creates nothing");
    let outbox = outbox(&place, &server);
    outbox.deliver_once().await.unwrap();
    assert_eq!(unacknowledged(&server).await, 0);
    let context = context(&server).await;
    let stream = context.get_stream("QUARTET_EVENTS").await.unwrap();
    stream.delete_consumer("media").await.unwrap();
    place.advance(61);
    outbox.deliver_once().await.unwrap();
    assert_eq!(unacknowledged(&server).await, 0);
    stream.delete_consumer("media").await.unwrap();
    place.advance(61);
    place.publish(&outbox, "ada").await;
    outbox.deliver_once().await.unwrap();
    until(async || place.effects("ada").await == [1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_messages_are_applied_once_and_forged_ones_refused() {
    let place = Place::new().await;
    let Some(server) = NatsServer::start() else {
        return;
    };
    let outbox = outbox(&place, &server);
    let consuming = Consuming::start(&place, &server, Counting::default());
    place.publish(&outbox, "ada").await;
    outbox.deliver_once().await.unwrap();
    until(async || consuming.received("applied", 1)).await;
    let context = context(&server).await;
    let id: String = sqlx::query_scalar("SELECT id FROM inbox")
        .fetch_one(&place.db)
        .await
        .unwrap();
    let now = place.clock.now();
    forge(&context, &id, (SECRET, &id), now).await;
    until(async || consuming.received("repeated", 1)).await;
    forge(&context, "forged", (OTHER, "forged"), now).await;
    forge(&context, "replaced", (SECRET, "other"), now).await;
    let unsigned = context.publish(SUBJECT, "{}".into());
    unsigned.await.unwrap().await.unwrap();
    until(async || consuming.received("refused", 3)).await;
    until(async || unacknowledged(&server).await == 0).await;
    assert_eq!(place.effects("ada").await, [1]);
    assert_eq!(place.number("SELECT count(*) FROM inbox_retries").await, 0);
}

/// Beyond the server's window for duplicates, only the inbox knows.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_signed_long_ago_is_a_dead_letter() {
    let place = Place::new().await;
    let Some(server) = NatsServer::start() else {
        return;
    };
    let consuming = Consuming::start(&place, &server, Counting::default());
    let outbox = outbox(&place, &server);
    place.publish(&outbox, "eve").await;
    outbox.deliver_once().await.unwrap();
    let context = context(&server).await;
    let day = chrono::TimeDelta::days(1);
    let now = place.clock.now();
    forge(&context, "late", (SECRET, "late"), now - day * 91).await;
    forge(&context, "in time", (SECRET, "in time"), now - day * 89).await;
    until(async || place.effects("ada").await == [9]).await;
    until(async || unacknowledged(&server).await == 0).await;
    let mut db = quartet_db::read(&place.db).await.unwrap();
    let dead = quartet_events::dead_letters::RECEIVED
        .list(&mut db, 10)
        .await;
    let dead = dead.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].reason, "was signed more than 90 days ago");
    assert!(consuming.received("applied", 2));
}

fn big(subject: &str, number: i64, bytes: usize) -> NewEvent {
    NewEvent {
        kind: "subject.counted",
        subject: subject.to_owned(),
        data: json!({ "number": number, "text": "x".repeat(bytes) }),
    }
}
