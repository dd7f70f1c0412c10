//! `user.deleted` through NATS.

use quartet_common::clock::Clock;
use quartet_events::{Delivery, Nats, NewEvent, Outbox, Signer, USER_DELETED};
use quartet_telemetry::metrics::Metrics;
use quartet_testing::{NatsServer, TestDatabase};
use serde_json::json;
use sqlx::PgPool;

use crate::support::{ALICE, Cluster, eventually};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[tokio::test(flavor = "multi_thread")]
async fn the_links_of_a_deleted_user_are_erased() {
    let Some(server) = NatsServer::start() else {
        return;
    };
    let cluster = Cluster::new().await;
    let url = server.url();
    let settings = [
        ("QUARTET_EVENTS_SECRET", SECRET),
        ("QUARTET_EVENTS_NATS_URL", url.as_str()),
    ];
    let replica = cluster.start_with(&settings).await;
    replica.link().await;
    publish(&server, ALICE).await;
    let mut admin = cluster.database.connect_as_admin().await;
    let left = "SELECT count(*) FROM links.links";
    eventually(async || {
        let left: i64 = sqlx::query_scalar(left)
            .fetch_one(&mut admin)
            .await
            .unwrap();
        (left == 0).then_some(())
    })
    .await;
    replica.stop().await;
}

/// Publishes the event as core does.
async fn publish(server: &NatsServer, user: &str) {
    let database = TestDatabase::empty("core").await;
    let mut owner = database.connect_as_owner().await;
    sqlx::raw_sql(include_str!("../../../../libs/events/outbox.sql"))
        .execute(&mut owner)
        .await
        .unwrap();
    let db = PgPool::connect(&database.url()).await.unwrap();
    let delivery = Delivery {
        signer: Signer::new(&SECRET.into()),
        nats: Some(Nats::new(&server.url().into()).unwrap()),
        consumers: Vec::new(),
        poll_interval_ms: 1000,
        request_timeout_seconds: 10,
        batch_events: 10,
        batch_bytes: 4096,
        max_tries: 3,
        max_wait_seconds: 3600,
        retention_seconds: 3600,
    };
    let metrics = Metrics::new("core");
    let outbox = Outbox::new("core", delivery, db.clone(), Clock::system(), &metrics).unwrap();
    let mut tx = quartet_db::begin(&db).await.unwrap();
    let event = NewEvent {
        kind: USER_DELETED,
        subject: user.to_owned(),
        data: json!({ "user_id": user }),
    };
    let published = outbox.publish(&mut tx, event).await.unwrap();
    tx.commit().await.unwrap();
    published.wake();
    outbox.deliver_once().await.unwrap();
}
