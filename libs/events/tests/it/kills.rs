//! SIGKILL of the dispatcher and of the consumer, at each stage of a delivery. Each is a process: this
//! test binary, running an ignored test.

use std::sync::{Arc, Mutex};

use axum::{
    extract::Request,
    middleware::{Next, from_fn},
};
use chrono::{TimeDelta, Utc};
use quartet_common::clock::Clock;
use quartet_events::Outbox;
use quartet_telemetry::metrics::Metrics;
use quartet_testing::child::{Logging, wait_for_parent};
use serde_json::Value;
use sqlx::PgPool;
use tokio::net::TcpListener;

use crate::support::{Counting, Place, Served, delivery, until};

/// When the dispatcher is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// Its request has arrived, and nothing is applied.
    Sent,
    /// Everything is applied, and it has not got the response.
    Applied,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_dispatcher_loses_nothing_and_repeats_no_effect() {
    let place = Place::new().await;
    let inbox = place.inbox(Counting::default());
    let kill: Arc<Mutex<Option<(Stage, Logging)>>> = Arc::default();
    let killer = Arc::clone(&kill);
    let around = move |request: Request, next: Next| {
        let killer = Arc::clone(&killer);
        async move {
            kill_at(&killer, Stage::Sent);
            let response = next.run(request).await;
            kill_at(&killer, Stage::Applied);
            response
        }
    };
    let served = Served::start(inbox.router().layer(from_fn(around))).await;
    let outbox = place.outbox(served.address);
    for (round, stage) in [Stage::Sent, Stage::Applied, Stage::Applied, Stage::Sent]
        .into_iter()
        .enumerate()
    {
        for subject in ["ada", "eve", "ada"] {
            place.publish(&outbox, subject).await;
        }
        // The clock of each process is ahead by more than the lease of the one before.
        let ahead = (25 * (round + 1)).to_string();
        let address = served.address.to_string();
        let dispatcher = Logging::start(
            "kills::dispatcher",
            &[
                ("TEST_DATABASE", &place.database.url()),
                ("TEST_CONSUMER", &address),
                ("TEST_AHEAD_SECONDS", &ahead),
            ],
        );
        let requests = served.requests();
        *kill.lock().unwrap() = Some((stage, dispatcher));
        until(async || kill.lock().unwrap().is_none()).await;
        assert!(served.requests() > requests, "{stage:?}");
    }
    place.advance(200);
    until(async || {
        outbox.deliver_once().await.unwrap();
        place
            .number("SELECT (sum(last) - (SELECT count(*) FROM effects))::bigint FROM subjects")
            .await
            == 0
    })
    .await;
    place.assert_all_once_in_order().await;
    assert_eq!(place.effects("ada").await.len(), 8);
}

fn kill_at(kill: &Mutex<Option<(Stage, Logging)>>, now: Stage) {
    let mut kill = kill.lock().unwrap();
    if kill.as_ref().is_some_and(|(stage, _)| *stage == now) {
        // Dropping it kills it and waits for its end.
        kill.take();
    }
}

#[tokio::test]
#[ignore = "the dispatcher of another test"]
async fn dispatcher() {
    let variable = |name| std::env::var(name).unwrap();
    let db = PgPool::connect(&variable("TEST_DATABASE")).await.unwrap();
    let ahead = TimeDelta::seconds(variable("TEST_AHEAD_SECONDS").parse().unwrap());
    #[expect(clippy::disallowed_methods, reason = "the clocks of two processes")]
    let clock = Clock::manual(Utc::now() + ahead);
    let delivery = delivery(variable("TEST_CONSUMER").parse().unwrap());
    let outbox = Outbox::new("core", delivery, db, clock, &Metrics::new("test")).unwrap();
    loop {
        let _ = outbox.deliver_once().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_consumer_undoes_what_it_has_not_committed() {
    let place = Place::new().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let outbox = place.outbox(address);
    place.publish(&outbox, "ada").await;
    let mut consumer = Logging::start(
        "kills::consumer",
        &[
            ("TEST_DATABASE", &place.database.url()),
            ("TEST_CONSUMER", &address.to_string()),
        ],
    );
    consumer.find("listening");
    let delivering = tokio::spawn({
        let outbox = outbox.clone();
        async move { outbox.deliver_once().await }
    });
    // The effect is written and not committed.
    let mut consumer = tokio::task::spawn_blocking(move || {
        consumer.find("inside");
        consumer
    })
    .await
    .unwrap();
    consumer.close_input();
    drop(consumer);
    delivering.await.unwrap().unwrap_err();
    assert_eq!(place.effects("ada").await, [0i64; 0]);
    assert_eq!(place.number("SELECT count(*) FROM inbox").await, 0);
    let listener = TcpListener::bind(address).await.unwrap();
    let _served = Served::start_on(listener, place.inbox(Counting::default()).router());
    outbox.deliver_once().await.unwrap();
    assert_eq!(place.effects("ada").await, [1]);
}

#[tokio::test]
#[ignore = "the consumer of another test"]
async fn consumer() {
    let variable = |name| std::env::var(name).unwrap();
    let say = |message: &str| println!("{}", serde_json::json!({ "msg": message }));
    let counting = Counting {
        inside: Some(Arc::new(move || {
            say("inside");
            wait_for_parent();
            // Killed here.
            std::thread::park();
        })),
        ..Counting::default()
    };
    let db = PgPool::connect(&variable("TEST_DATABASE")).await.unwrap();
    let signer = quartet_events::Signer::new(&crate::support::SECRET.into());
    let inbox =
        quartet_events::Inbox::new(db, Clock::system(), signer, &Metrics::new("test"), counting);
    let listener = TcpListener::bind(variable("TEST_CONSUMER")).await.unwrap();
    let served = Served::start_on(listener, inbox.router());
    say("listening");
    let _: &Mutex<Vec<Vec<Value>>> = &served.seen;
    std::future::pending::<()>().await;
}

/// A proxy for requests to the internet has no business with events, nor any way to the consumers.
#[tokio::test(flavor = "multi_thread")]
async fn events_go_through_no_proxy() {
    let place = Place::new().await;
    let consumer = place.consumer(Counting::default()).await;
    let outbox = place.outbox(consumer.address);
    place.publish(&outbox, "ada").await;
    let nowhere = "http://127.0.0.1:1";
    let _dispatcher = Logging::start(
        "kills::dispatcher",
        &[
            ("TEST_DATABASE", &place.database.url()),
            ("TEST_CONSUMER", &consumer.address.to_string()),
            ("TEST_AHEAD_SECONDS", "0"),
            ("HTTP_PROXY", nowhere),
            ("http_proxy", nowhere),
            ("ALL_PROXY", nowhere),
        ],
    );
    until(async || place.effects("ada").await == [1]).await;
}
