//! The event that every service with rows of users receives.

use quartet_common::clock::Clock;
use quartet_events::{Delivery, Nats, NewEvent, Outbox, Signer, USER_DELETED};
use quartet_telemetry::metrics::Metrics;
use serde_json::json;
use sqlx::PgPool;

use crate::{database::TestDatabase, nats::NatsServer};

/// The secret that events are signed with.
pub const EVENTS_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Publishes `user.deleted` to NATS, as core does.
///
/// # Panics
/// When the database or NATS fails.
pub async fn publish_user_deleted(server: &NatsServer, user: &str) {
    let database = TestDatabase::empty("core").await;
    let mut owner = database.connect_as_owner().await;
    let tables = sqlx::raw_sql(include_str!("../../events/outbox.sql"));
    tables.execute(&mut owner).await.expect("the tables");
    let db = PgPool::connect(&database.url()).await.expect("a pool");
    let delivery = Delivery {
        signer: Signer::new(&EVENTS_SECRET.into()),
        nats: Some(Nats::new(&server.url().into()).expect("a URL")),
        consumers: Vec::new(),
        poll_interval_ms: 1000,
        request_timeout_seconds: 10,
        batch_events: 10,
        batch_bytes: 4096,
        max_tries: 3,
        max_wait_seconds: 3600,
        retention_seconds: 3600,
    };
    let (clock, metrics) = (Clock::system(), Metrics::new("core"));
    let outbox = Outbox::new("core", delivery, db.clone(), clock, &metrics).expect("an outbox");
    let mut tx = quartet_db::begin(&db).await.expect("a transaction");
    let event = NewEvent {
        kind: USER_DELETED,
        subject: user.to_owned(),
        data: json!({ "user_id": user }),
    };
    let published = outbox.publish(&mut tx, event).await.expect("published");
    tx.commit().await.expect("committed");
    published.wake();
    outbox.deliver_once().await.expect("delivered");
}
