//! The bounds of retries, and their end.

use quartet_events::dead_letters::RECEIVED;
use quartet_testing::NatsServer;

use super::{Consuming, outbox, unacknowledged};
use crate::support::{Counting, Place, until};

#[tokio::test(flavor = "multi_thread")]
async fn after_its_last_try_an_event_is_a_dead_letter_and_its_subject_continues() {
    let place = Place::new().await;
    let Some(server) = NatsServer::start() else {
        return;
    };
    let outbox = outbox(&place, &server);
    let counting = Counting::broken("eve", "reject");
    let consuming = Consuming::start(&place, &server, counting.clone());
    place.publish(&outbox, "eve").await;
    outbox.deliver_once().await.unwrap();
    until(async || consuming.received("rejected", 1)).await;
    for _ in 1..12 {
        assert_eq!(consuming.inbox.notices(), [""; 0]);
        place.advance(3601);
        consuming.inbox.retry_due(|| false).await.unwrap();
    }
    assert!(consuming.received("rejected", 12));
    assert_eq!(consuming.inbox.notices(), ["1 dead letters"]);
    assert!(consuming.shows("events_dead_total", "1"));
    counting.broken.lock().unwrap().clear();
    place.publish(&outbox, "eve").await;
    outbox.deliver_once().await.unwrap();
    until(async || place.effects("eve").await == [2]).await;
    let mut db = quartet_db::write(&place.db).await.unwrap();
    let dead = RECEIVED.list(&mut db, 10).await.unwrap();
    assert_eq!(
        (dead.len(), dead[0].tries, &*dead[0].kind),
        (1, 12, "subject.counted")
    );
    let now = place.clock.now();
    let retried = RECEIVED
        .retry(&mut db, Some(&[dead[0].place.clone()]), now, 10)
        .await;
    assert_eq!(retried.unwrap(), 1);
    consuming.inbox.retry_due(|| false).await.unwrap();
    assert_eq!(place.effects("eve").await, [2, 1]);
    assert_eq!(consuming.inbox.notices(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_deleted_after_a_month() {
    let place = Place::new().await;
    let inbox = place.inbox(Counting::default());
    waiting(&place, 3, "dead_at = retry_at - interval '1 day'").await;
    place.advance(28 * 86_400);
    inbox.purge(&|| false).await.unwrap();
    let kept = "SELECT count(*) FROM inbox_retries";
    assert_eq!(place.number(kept).await, 3);
    place.advance(2 * 86_400);
    inbox.purge(&|| false).await.unwrap();
    assert_eq!(place.number(kept).await, 0);
}

/// Then it stays in the stream, which has a bound as well.
#[tokio::test(flavor = "multi_thread")]
async fn with_too_many_that_wait_no_more_is_taken_from_the_stream() {
    let place = Place::new().await;
    let Some(server) = NatsServer::start() else {
        return;
    };
    let outbox = outbox(&place, &server);
    outbox.deliver_once().await.unwrap();
    waiting(&place, 10_000, "retry_at = retry_at + interval '1 year'").await;
    let consuming = Consuming::start(&place, &server, Counting::broken("eve", "reject"));
    place.publish(&outbox, "ada").await;
    place.publish(&outbox, "eve").await;
    outbox.deliver_once().await.unwrap();
    until(async || place.effects("ada").await == [1]).await;
    until(async || {
        let text = consuming.metrics.render();
        text.contains("job_failures_total{service=\"media\",job_name=\"events\"} 1")
    })
    .await;
    assert_eq!(unacknowledged(&server).await, 1);
    assert!(!consuming.received("rejected", 1));
    sqlx::query("DELETE FROM inbox_retries WHERE position = 1")
        .execute(&place.db)
        .await
        .unwrap();
    until(async || consuming.received("rejected", 1)).await;
    until(async || unacknowledged(&server).await == 0).await;
}

/// Keeps events of other subjects, changed by `change`.
async fn waiting(place: &Place, count: i64, change: &'static str) {
    let insert = format!(
        "INSERT INTO inbox_retries (source, id, kind, subject, at, event, tries, retry_at, reason)
         SELECT '/v1/core', n, 'subject.counted', n, $1, '{{}}', 1, $1, 'no'
         FROM generate_series(1, {count}) AS n"
    );
    let update = format!("UPDATE inbox_retries SET {change}");
    let now = place.clock.now();
    let insert = sqlx::query(sqlx::AssertSqlSafe(insert)).bind(now);
    insert.execute(&place.db).await.unwrap();
    let update = sqlx::query(sqlx::AssertSqlSafe(update));
    update.execute(&place.db).await.unwrap();
}
