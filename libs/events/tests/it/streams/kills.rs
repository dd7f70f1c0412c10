//! SIGKILL of a consumer, before its commit and between commit and acknowledgment.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::consumer::pull;
use quartet_common::clock::Clock;
use quartet_events::{Inbox, Nats, Signer};
use quartet_jobs::Runner;
use quartet_telemetry::metrics::Metrics;
use quartet_testing::{
    NatsServer,
    child::{Logging, wait_for_parent},
};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::{Consuming, context, outbox, unacknowledged};
use crate::support::{Counting, Place, SECRET, until};

/// `mute` cannot acknowledge anything.
const LOGINS: &str = r#"
    authorization { users: [
        { user: all, password: all },
        { user: mute, password: mute, permissions: { publish: { deny: "$JS.ACK.>" } } },
    ] }
    no_auth_user: all
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_consumer_has_applied_and_not_acknowledged_is_applied_once() {
    let place = Place::new().await;
    let Some(server) = NatsServer::start_with(LOGINS) else {
        return;
    };
    let outbox = outbox(&place, &server);
    place.publish(&outbox, "ada").await;
    outbox.deliver_once().await.unwrap();
    shorten(&server).await;
    let url = server.url().replace("//", "//mute:mute@");
    let killed = start(&place, &url, "go on");
    until(async || place.effects("ada").await == [1]).await;
    assert_eq!(unacknowledged(&server).await, 1);
    drop(killed);
    let consuming = Consuming::start(&place, &server, Counting::default());
    until(async || consuming.received("repeated", 1)).await;
    until(async || unacknowledged(&server).await == 0).await;
    assert_eq!(place.effects("ada").await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_consumer_has_not_committed_is_applied_by_another() {
    let place = Place::new().await;
    let Some(server) = NatsServer::start() else {
        return;
    };
    let outbox = outbox(&place, &server);
    for _ in 0..2 {
        place.publish(&outbox, "ada").await;
    }
    outbox.deliver_once().await.unwrap();
    shorten(&server).await;
    let url = server.url();
    let mut killed = start(&place, &url, "stop inside");
    let killed = tokio::task::spawn_blocking(move || {
        killed.find("inside");
        killed
    });
    drop(killed.await.unwrap());
    assert_eq!(place.effects("ada").await, [0i64; 0]);
    let consuming = Consuming::start(&place, &server, Counting::default());
    until(async || place.effects("ada").await == [1, 2]).await;
    until(async || unacknowledged(&server).await == 0).await;
    assert!(consuming.received("applied", 2));
    place.assert_all_once_in_order().await;
}

/// Has what is not acknowledged delivered again after a second.
async fn shorten(server: &NatsServer) {
    let context = context(server).await;
    let stream = context.get_stream("QUARTET_EVENTS").await.unwrap();
    let info = stream.consumer_info("media").await.unwrap();
    assert_eq!(info.config.ack_wait, Duration::from_secs(10));
    assert_eq!(info.config.max_ack_pending, 1);
    let shorter = stream.create_consumer(pull::Config {
        durable_name: Some("media".to_owned()),
        ack_wait: Duration::from_secs(1),
        max_ack_pending: 1,
        ..pull::Config::default()
    });
    shorter.await.unwrap();
}

fn start(place: &Place, url: &str, mode: &str) -> Logging {
    Logging::start(
        "streams::kills::consumer",
        &[
            ("TEST_DATABASE", &place.database.url()),
            ("TEST_NATS", url),
            ("TEST_MODE", mode),
        ],
    )
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the consumer of another test"]
async fn consumer() {
    let variable = |name| std::env::var(name).unwrap();
    let mut counting = Counting::default();
    if variable("TEST_MODE") == "stop inside" {
        counting.inside = Some(Arc::new(|| {
            println!("{}", serde_json::json!({ "msg": "inside" }));
            wait_for_parent();
        }));
    }
    let db = PgPool::connect(&variable("TEST_DATABASE")).await.unwrap();
    let metrics = Metrics::new("media");
    let signer = Signer::new(&SECRET.into());
    let inbox = Inbox::new(db, Clock::system(), signer, &metrics, counting);
    let mut runner = Runner::new(&metrics, Clock::system(), CancellationToken::new());
    let nats = Nats::new(&variable("TEST_NATS").as_str().into()).unwrap();
    inbox.start(&nats, "media", &mut runner);
    std::future::pending::<()>().await;
}
