//! Streams and servers that operators have set up in their own way, and how much they take.

use std::time::Duration;

use async_nats::jetstream::{
    consumer::pull,
    stream::{Config, DiscardPolicy, RetentionPolicy},
};
use quartet_testing::NatsServer;

use super::{Consuming, big, context, outbox, unacknowledged};
use crate::support::{Counting, Place, next, until};

fn stream() -> Config {
    Config {
        name: "QUARTET_EVENTS".to_owned(),
        subjects: vec!["quartet.events.>".to_owned()],
        retention: RetentionPolicy::Interest,
        discard: DiscardPolicy::New,
        ..Config::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_would_lose_events_is_not_used() {
    let place = Place::new().await;
    let Some(server) = NatsServer::start() else {
        return;
    };
    let outbox = outbox(&place, &server);
    place.publish(&outbox, "ada").await;
    let context = context(&server).await;
    let day = Duration::from_hours(24);
    let unfit = [
        (
            "discard policy",
            Config {
                discard: DiscardPolicy::Old,
                ..stream()
            },
        ),
        (
            "retention",
            Config {
                retention: RetentionPolicy::WorkQueue,
                ..stream()
            },
        ),
        (
            "maximum age",
            Config {
                max_age: day,
                ..stream()
            },
        ),
        (
            "subjects",
            Config {
                subjects: vec!["quartet.events.core.>".to_owned()],
                ..stream()
            },
        ),
    ];
    for (what, config) in unfit {
        context.create_stream(config).await.unwrap();
        let error = outbox.deliver_once().await.unwrap_err().to_string();
        assert!(error.contains("would lose events"), "{error}");
        assert!(error.contains(what), "{error}");
        context.delete_stream("QUARTET_EVENTS").await.unwrap();
    }
    // Its size is the operator's, and a consumer is set right.
    let own = context.create_stream(Config {
        max_bytes: 1 << 20,
        ..stream()
    });
    let consumer = pull::Config {
        durable_name: Some("media".to_owned()),
        max_ack_pending: 7,
        ..pull::Config::default()
    };
    let own = own.await.unwrap();
    own.create_consumer(consumer).await.unwrap();
    outbox.deliver_once().await.unwrap();
    let info = own.consumer_info("media").await.unwrap();
    assert_eq!(info.config.max_ack_pending, 1);
    let info = own.get_info().await.unwrap();
    assert_eq!((info.config.max_bytes, info.state.messages), (1 << 20, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_stream_refuses_waits_in_the_outbox() {
    let place = Place::new().await;
    let Some(server) = NatsServer::start() else {
        return;
    };
    let context = context(&server).await;
    let small = context.create_stream(Config {
        max_bytes: 4096,
        ..stream()
    });
    small.await.unwrap();
    let outbox = outbox(&place, &server);
    for _ in 0..10 {
        place.publish(&outbox, "ada").await;
    }
    let error = outbox.deliver_once().await.unwrap_err().to_string();
    assert!(error.contains("maximum bytes exceeded"), "{error}");
    let stored = unacknowledged(&server).await;
    assert!((1..10).contains(&stored), "{stored}");
    let waiting = place.metric("events_waiting{");
    assert_eq!(waiting, (10 - stored).to_string());
    let consuming = Consuming::start(&place, &server, Counting::default());
    // The links service, which is a consumer as well, takes nothing: its copy keeps the stream full.
    until(async || unacknowledged(&server).await == 0).await;
    assert!(outbox.deliver_once().await.is_err());
    let stream = context.get_stream("QUARTET_EVENTS").await.unwrap();
    stream.delete_consumer("links").await.unwrap();
    until(async || {
        let _ = outbox.deliver_once().await;
        let _ = stream.delete_consumer("links").await;
        place.effects("ada").await.len() == 10
    })
    .await;
    place.assert_all_once_in_order().await;
    // Counted after it was committed.
    until(async || consuming.received("applied", 10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_too_large_for_the_server_keeps_no_other_waiting() {
    let place = Place::new().await;
    let Some(server) = NatsServer::start_with("max_payload: 4096") else {
        return;
    };
    let outbox = outbox(&place, &server);
    let _consuming = Consuming::start(&place, &server, Counting::default());
    place.publish(&outbox, "ada").await;
    let mut tx = quartet_db::begin(&place.db).await.unwrap();
    let number = next(&mut tx, "eve").await;
    let published = outbox.publish(&mut tx, big("eve", number, 8000)).await;
    tx.commit().await.unwrap();
    published.unwrap().wake();
    for subject in ["ada", "eve"] {
        place.publish(&outbox, subject).await;
    }
    outbox.deliver_once().await.unwrap();
    until(async || place.effects("ada").await == [1, 2]).await;
    assert_eq!(place.effects("eve").await, [0i64; 0]);
    assert_eq!(place.metric("events_failed_total{"), "1");
    assert_eq!(place.metric("events_waiting{"), "2");
}
