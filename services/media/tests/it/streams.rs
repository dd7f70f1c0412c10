//! `user.deleted` through NATS.

use std::time::Duration;

use quartet_common::clock::Clock;
use quartet_events::{Delivery, Nats, NewEvent, Outbox, Signer, USER_DELETED};
use quartet_media::Service;
use quartet_service::{Base, Replica};
use quartet_telemetry::metrics::Metrics;
use quartet_testing::{NatsServer, TestDatabase};
use serde_json::json;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::support::TestApp;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_deleted_user_owned_is_erased() {
    let Some(server) = NatsServer::start() else {
        return;
    };
    let app = TestApp::start_with(|config| {
        config.events.secret = Some(SECRET.into());
        config.events.nats_url = Some(server.url().into());
    })
    .await;
    app.upload("usr_a", "public").await;
    app.upload("usr_b", "public").await;
    let config = app.config.clone();
    let base = Base::new::<Service>(&config, app.clock.clone(), CancellationToken::new()).unwrap();
    let mut replica = Replica::<Service>::new(config, base).unwrap();
    replica.work();
    publish(&server, "usr_a").await;
    let erased = async {
        while app.keys("quartet-public").await.len() > 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), erased)
        .await
        .unwrap();
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
