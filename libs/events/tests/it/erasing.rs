//! What the event of a deleted account asks for, and who does it.

use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use quartet_common::clock::Clock;
use quartet_events::{ApplyError, Consumer as _, Erasures, Event, USER_DELETED};
use quartet_testing::TestDatabase;
use serde_json::{Value, json};
use sqlx::PgPool;

/// The queue is that of quartet-worker.
const TABLES: [&str; 2] = [
    include_str!("../../erasures.sql"),
    "CREATE FUNCTION add_job(identifier text, payload json, job_key text) RETURNS void
         LANGUAGE sql AS ''",
];

struct World {
    erasures: Erasures,
    db: PgPool,
    clock: Clock,
    _database: TestDatabase,
}

async fn world() -> World {
    let database = TestDatabase::empty("media").await;
    let mut owner = database.connect_as_owner().await;
    for tables in TABLES {
        sqlx::raw_sql(tables).execute(&mut owner).await.unwrap();
    }
    let db = PgPool::connect(&database.url()).await.unwrap();
    let clock = Clock::manual(DateTime::<Utc>::from(std::time::SystemTime::now()));
    World {
        erasures: Erasures::new(db.clone(), clock.clone()),
        db,
        clock,
        _database: database,
    }
}

impl World {
    async fn apply(&self, data: Value) -> Result<(), ApplyError> {
        let now = self.clock.now();
        let event = Event::new("1", "/v1/core", USER_DELETED, "usr_a", now).with_data(data);
        let mut tx = quartet_db::begin(&self.db).await.unwrap();
        self.erasures.apply(&mut tx, &event).await?;
        tx.commit().await.unwrap();
        Ok(())
    }
}

#[tokio::test]
async fn an_event_that_names_another_user_erases_nothing() {
    let world = world().await;
    for data in [
        json!({ "user_id": "usr_b" }),
        json!({ "user_id": null }),
        json!({}),
        Value::Null,
        json!("usr_a"),
    ] {
        let rejected = world.apply(data.clone()).await.unwrap_err();
        assert!(matches!(rejected, ApplyError::Invalid(_)), "{data}");
    }
    let due = async || -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM erasures");
        count.fetch_one(&world.db).await.unwrap()
    };
    assert_eq!(due().await, 0);
    world.apply(json!({ "user_id": "usr_a" })).await.unwrap();
    assert_eq!(due().await, 1);
}

/// An erasure that takes longer than its lease stays with the replica that does it.
#[tokio::test]
async fn the_lease_of_a_long_erasure_is_renewed() {
    let world = world().await;
    world.apply(json!({ "user_id": "usr_a" })).await.unwrap();
    let others = AtomicU64::new(0);
    let steps = AtomicU64::new(0);
    let step = |_| async {
        world.clock.advance(TimeDelta::minutes(3));
        let other = |_| async {
            others.fetch_add(1, Ordering::SeqCst);
            Ok::<u64, sqlx::Error>(0)
        };
        world.erasures.run(other, || false).await?;
        let step = steps.fetch_add(1, Ordering::SeqCst);
        Ok::<u64, sqlx::Error>(u64::from(step < 5))
    };
    assert_eq!(world.erasures.run(step, || false).await.unwrap(), 5);
    assert_eq!(
        others.load(Ordering::SeqCst),
        0,
        "another took it meanwhile"
    );
    assert_eq!(steps.load(Ordering::SeqCst), 6);
}
