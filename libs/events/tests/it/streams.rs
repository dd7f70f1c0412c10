//! Events through NATS, with a real server.

use std::time::Duration;

use async_nats::{
    HeaderMap,
    jetstream::{self, Context, consumer::PullConsumer},
};
use quartet_common::clock::Clock;
use quartet_events::{Event, Inbox, Nats, Outbox, Signer};
use quartet_jobs::Runner;
use quartet_telemetry::metrics::Metrics;
use quartet_testing::NatsServer;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{Counting, Place, SECRET, delivery, until};

const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

fn outbox(place: &Place, server: &NatsServer) -> Outbox {
    let mut delivery = delivery(([127, 0, 0, 1], 1).into());
    delivery.consumers.clear();
    delivery.request_timeout_seconds = 2;
    delivery.nats = Some(Nats::new(&server.url().into()).unwrap());
    let at = (place.db.clone(), place.clock.clone());
    Outbox::new("core", delivery, at, &place.metrics).unwrap()
}

/// The consumer `media`.
struct Consuming {
    metrics: Metrics,
    _runner: Runner,
}

impl Consuming {
    fn start(place: &Place, server: &NatsServer, counting: Counting) -> Self {
        let metrics = Metrics::new("media");
        let at = (place.db.clone(), place.clock.clone());
        let inbox = Inbox::new(Signer::new(&SECRET.into()), at, &metrics, counting);
        let stop = CancellationToken::new();
        let mut runner = Runner::new(&metrics, Clock::system(), stop);
        let nats = Nats::new(&server.url().into()).unwrap();
        inbox.start(&nats, "media", &mut runner);
        Self {
            metrics,
            _runner: runner,
        }
    }

    fn received(&self, outcome: &str, count: u32) -> bool {
        let line = format!("outcome=\"{outcome}\"}} {count}");
        self.metrics.render().contains(&line)
    }
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
    assert!(consuming.received("applied", 3));
    assert_eq!(place.metric("events_waiting{"), "0");
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
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let id = place.number("SELECT count(*) FROM inbox").await;
    assert_eq!(id, 1);
    let id: String = sqlx::query_scalar("SELECT id FROM inbox")
        .fetch_one(&place.db)
        .await
        .unwrap();
    send(&place, &context, &id, SECRET, &id).await;
    until(async || consuming.received("repeated", 1)).await;
    send(&place, &context, "forged", OTHER, "forged").await;
    send(&place, &context, "replaced", SECRET, "other").await;
    let unsigned = context.publish("quartet.events.core.subject.counted", "{}".into());
    unsigned.await.unwrap().await.unwrap();
    until(async || consuming.received("refused", 3)).await;
    let consumer = context.get_consumer_from_stream("media", "QUARTET_EVENTS");
    let mut consumer: PullConsumer = consumer.await.unwrap();
    until(async || {
        let info = consumer.info().await.unwrap();
        (info.num_pending, info.num_ack_pending) == (0, 0)
    })
    .await;
    assert_eq!(place.effects("ada").await, [1]);
}

/// An event that cannot be applied is delivered again, and keeps no other one waiting.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_event_stays_in_the_stream() {
    let place = Place::new().await;
    let Some(server) = NatsServer::start() else {
        return;
    };
    let outbox = outbox(&place, &server);
    let counting = Counting::broken("eve", "reject");
    let consuming = Consuming::start(&place, &server, counting.clone());
    for subject in ["eve", "ada"] {
        place.publish(&outbox, subject).await;
    }
    outbox.deliver_once().await.unwrap();
    until(async || place.effects("ada").await == [1]).await;
    assert!(consuming.received("rejected", 1));
    counting.broken.lock().unwrap().clear();
    // After ten seconds.
    until(async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        place.effects("eve").await == [1]
    })
    .await;
}

/// A message about `ada`, with the id `id` and the signature of a message `signed`.
async fn send(place: &Place, context: &Context, id: &str, secret: &str, signed: &str) {
    let now = place.clock.now();
    let event = Event::new(id, "/v1/core", "subject.counted", "ada", now);
    let event = event.with_data(json!({ "number": 9 }));
    let body = serde_json::to_string(&event).unwrap();
    let signer = Signer::new(&secret.into()).unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in &signer.sign(signed, now, body.as_bytes()) {
        headers.insert(name.as_str(), value.to_str().unwrap());
    }
    let subject = "quartet.events.core.subject.counted";
    let sent = context.publish_with_headers(subject, headers, body.into());
    sent.await.unwrap().await.unwrap();
}
