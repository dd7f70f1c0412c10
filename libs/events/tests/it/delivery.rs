//! What the dispatcher does with consumers that fail, and the bounds of what it sends.

use http::StatusCode;
use quartet_events::{NewEvent, outbox::dead_letters};
use quartet_jobs::Runner;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{Counting, MAX_TRIES, Place, event, until};

/// Longer than any time between two tries.
const HOUR: i64 = 3601;

#[tokio::test]
async fn an_event_that_cannot_be_applied_holds_its_subject_and_no_other() {
    let place = Place::new().await;
    let counting = Counting::broken("eve", "reject");
    let consumer = place.consumer(counting.clone()).await;
    let outbox = place.outbox(consumer.address);
    for subject in ["eve", "ada", "eve", "ada"] {
        place.publish(&outbox, subject).await;
    }
    outbox.deliver_once().await.unwrap();
    assert_eq!(place.effects("ada").await, [1, 2]);
    place.publish(&outbox, "eve").await;
    place.publish(&outbox, "ada").await;
    outbox.deliver_once().await.unwrap();
    assert_eq!(place.effects("ada").await, [1, 2, 3]);
    assert_eq!(place.effects("eve").await, [0i64; 0]);
    assert_eq!(place.metric("events_waiting{"), "3");
    assert_eq!(
        place.metric("events_failed_total{"),
        "1",
        "the others of the subject are not tried"
    );
    // Once it can be applied, the subject continues in its order.
    counting.broken.lock().unwrap().clear();
    place.advance(HOUR);
    outbox.deliver_once().await.unwrap();
    assert_eq!(place.effects("eve").await, [1, 2, 3]);
    outbox.deliver_once().await.unwrap();
    assert_eq!(place.metric("events_waiting{"), "0");
    place.assert_all_once_in_order().await;
}

#[tokio::test]
async fn after_its_attempts_an_event_is_a_dead_letter_and_the_next_is_delivered() {
    for how in ["reject", "panic", "constraint"] {
        let place = Place::new().await;
        let counting = Counting::broken("eve", how);
        let consumer = place.consumer(counting.clone()).await;
        let outbox = place.outbox(consumer.address);
        place.publish(&outbox, "eve").await;
        for tries in 1..=MAX_TRIES {
            assert_eq!(
                place
                    .number("SELECT count(*) FROM outbox_retries WHERE dead_at IS NOT NULL")
                    .await,
                0,
                "{how}"
            );
            outbox.deliver_once().await.unwrap();
            outbox.deliver_once().await.unwrap();
            assert_eq!(
                consumer.requests(),
                tries as usize,
                "{how}: not before its time"
            );
            place.advance(HOUR);
        }
        assert_eq!(place.metric("events_dead_total{"), "1", "{how}");
        assert_eq!(outbox.notices(), ["media: 1 dead letters"], "{how}");
        counting.broken.lock().unwrap().clear();
        place.publish(&outbox, "eve").await;
        outbox.deliver_once().await.unwrap();
        assert_eq!(
            place.effects("eve").await,
            [2],
            "{how}: nothing waits for a dead letter"
        );
        let reason: String = sqlx::query_scalar("SELECT reason FROM outbox_retries")
            .fetch_one(&place.db)
            .await
            .unwrap();
        let expected = match how {
            "reject" => "is not wanted",
            "panic" => "panic",
            _ => "the database refuses it",
        };
        assert_eq!(reason, expected);
        // Dead letters are kept for a month.
        place.advance(31 * 24 * 3600);
        outbox.purge().await.unwrap();
        assert_eq!(
            place.number("SELECT count(*) FROM outbox").await,
            0,
            "{how}"
        );
    }
}

#[tokio::test]
async fn a_consumer_that_is_away_costs_no_tries_and_finds_everything() {
    let place = Place::new().await;
    let consumer = place.consumer(Counting::default()).await;
    let outbox = place.outbox(consumer.address);
    for subject in ["ada", "eve"] {
        place.publish(&outbox, subject).await;
    }
    let away = [401, 404, 408, 429, 502, 503, 504].map(|code| StatusCode::from_u16(code).unwrap());
    for status in away {
        consumer.answer(Some(status));
        for _ in 0..=MAX_TRIES {
            let error = outbox.deliver_once().await.unwrap_err().to_string();
            assert!(error.contains(&status.as_u16().to_string()), "{error}");
        }
        place.advance(HOUR);
    }
    // Responses that are not receipts say nothing about events either.
    consumer.answer(Some(StatusCode::OK));
    outbox.deliver_once().await.unwrap_err();
    assert_eq!(place.number("SELECT count(*) FROM outbox_retries").await, 0);
    outbox.purge().await.unwrap();
    consumer.answer(None);
    outbox.deliver_once().await.unwrap();
    place.assert_all_once_in_order().await;
    outbox.deliver_once().await.unwrap();
    assert_eq!(place.metric("events_oldest_waiting_seconds{"), "0.0");
}

#[tokio::test]
async fn batches_are_bounded_in_events_and_bytes() {
    let place = Place::new().await;
    let consumer = place.consumer(Counting::default()).await;
    let outbox = place.outbox_with(consumer.address, |delivery| delivery.batch_bytes = 4096);
    for _ in 0..25 {
        place.publish(&outbox, "ada").await;
    }
    outbox.deliver_once().await.unwrap();
    let sizes: Vec<usize> = consumer.seen.lock().unwrap().iter().map(Vec::len).collect();
    assert_eq!(sizes, [10, 10, 5]);
    for _ in 0..4 {
        let mut tx = quartet_db::begin(&place.db).await.unwrap();
        let large = NewEvent {
            data: json!({ "number": 1, "text": "x".repeat(1500) }),
            ..event("eve", 1)
        };
        outbox.publish(&mut tx, large).await.unwrap().wake();
        tx.commit().await.unwrap();
    }
    outbox.deliver_once().await.unwrap();
    let sizes: Vec<usize> = consumer.seen.lock().unwrap()[3..]
        .iter()
        .map(Vec::len)
        .collect();
    assert_eq!(sizes, [2, 2]);
    let mut tx = quartet_db::begin(&place.db).await.unwrap();
    let too_large = NewEvent {
        data: json!("x".repeat(16 * 1024)),
        ..event("eve", 1)
    };
    outbox.publish(&mut tx, too_large).await.unwrap_err();
}

#[tokio::test]
async fn a_refused_batch_is_sent_again_event_by_event() {
    let place = Place::new().await;
    let consumer = place.consumer(Counting::default()).await;
    let outbox = place.outbox(consumer.address);
    for subject in ["ada", "eve", "mallory"] {
        place.publish(&outbox, subject).await;
    }
    for refused in [
        StatusCode::PAYLOAD_TOO_LARGE,
        StatusCode::INTERNAL_SERVER_ERROR,
    ] {
        consumer.answer(Some(refused));
        outbox.deliver_once().await.unwrap();
    }
    let sizes: Vec<usize> = consumer.seen.lock().unwrap().iter().map(Vec::len).collect();
    // Together, then one, and two at a time after a request that has settled something.
    assert_eq!(sizes, [3, 1, 2, 1, 1]);
    consumer.answer(None);
    place.advance(HOUR);
    outbox.deliver_once().await.unwrap();
    place.assert_all_once_in_order().await;
}

#[tokio::test]
async fn another_replica_delivers_what_a_stalled_one_holds_and_the_effect_is_one() {
    let place = Place::new().await;
    let consumer = place.consumer(Counting::default()).await;
    let (one, other) = (
        place.outbox(consumer.address),
        place.outbox(consumer.address),
    );
    place.publish(&one, "ada").await;
    // A replica that has taken the lease and does no more.
    one.deliver_once().await.unwrap();
    sqlx::query(
        "UPDATE outbox_cursors SET position = 0, lease = gen_random_uuid(), leased_until = $1",
    )
    .bind(place.clock.now() + chrono::TimeDelta::seconds(20))
    .execute(&place.db)
    .await
    .unwrap();
    other.deliver_once().await.unwrap();
    assert_eq!(consumer.requests(), 1, "the lease is respected");
    place.advance(21);
    other.deliver_once().await.unwrap();
    assert_eq!(consumer.requests(), 2);
    place.assert_all_once_in_order().await;
}

#[tokio::test]
async fn delivered_events_are_purged_after_their_time_and_others_kept() {
    let place = Place::new().await;
    let consumer = place.consumer(Counting::default()).await;
    let outbox = place.outbox(consumer.address);
    place.publish(&outbox, "ada").await;
    outbox.deliver_once().await.unwrap();
    place.advance(HOUR);
    let late = place.publish(&outbox, "ada").await;
    outbox.purge().await.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM outbox").await, late - 1);
    // A consumer that has not been delivered to keeps everything.
    place.advance(HOUR);
    outbox.purge().await.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM outbox").await, 1);
    let none = place.outbox_with(consumer.address, |delivery| delivery.consumers.clear());
    none.purge().await.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM outbox").await, 1);
    assert_eq!(
        none.notices(),
        ["no consumer is configured: events are kept"]
    );
    outbox.deliver_once().await.unwrap();
    outbox.purge().await.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM outbox").await, 0);
}

/// The job polls once a minute here.
#[tokio::test]
async fn a_publisher_wakes_the_dispatcher_after_its_commit() {
    let place = Place::new().await;
    let consumer = place.consumer(Counting::default()).await;
    let outbox = place.outbox(consumer.address);
    let mut runner = Runner::new(
        &place.metrics,
        place.clock.clone(),
        CancellationToken::new(),
    );
    outbox.start(&mut runner);
    for _ in 0..3 {
        let number = place.publish(&outbox, "ada").await;
        until(async || i64::try_from(place.effects("ada").await.len()).unwrap() == number).await;
    }
    runner
        .stop(std::time::Duration::from_secs(5))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_waits_for_too_long_is_a_dead_letter_that_can_be_sent_again() {
    let place = Place::new().await;
    let consumer = place.consumer(Counting::broken("eve", "reject")).await;
    let outbox = place.outbox_with(consumer.address, |it| {
        it.max_wait_seconds = 36_010;
    });
    place.publish(&outbox, "eve").await;
    outbox.deliver_once().await.unwrap();
    // From now on the consumer is away: nothing counts as tried.
    consumer.answer(Some(StatusCode::SERVICE_UNAVAILABLE));
    for _ in 0..25 {
        place.publish(&outbox, "ada").await;
    }
    place.advance(9 * HOUR);
    place.publish(&outbox, "late").await;
    outbox.deliver_once().await.unwrap_err();
    assert_eq!(place.metric("events_dead_total{"), "0");
    assert_eq!(place.metric("events_max_wait_seconds{"), "36010");
    place.advance(2 * HOUR);
    let requests = consumer.requests();
    outbox.deliver_once().await.unwrap_err();
    assert_eq!(
        consumer.requests(),
        requests + 1,
        "only the late one is sent"
    );
    assert_eq!(place.metric("events_dead_total{"), "26");
    outbox.deliver_once().await.unwrap_err();
    assert_eq!(outbox.notices(), ["media: 26 dead letters"]);
    assert_eq!(place.metric("events_waiting{"), "1");
    // The consumer is back.
    consumer.answer(None);
    outbox.deliver_once().await.unwrap();
    assert_eq!(place.effects("ada").await, [0i64; 0]);
    assert_eq!(place.effects("late").await, [1]);
    let mut db = place.database.connect_as_role().await;
    let listed = dead_letters::list(&mut db, 2).await.unwrap();
    assert_eq!(listed.len(), 2, "the list has a bound");
    assert_eq!(
        (listed[0].consumer.as_str(), listed[0].subject.as_str()),
        ("media", "eve")
    );
    assert_eq!(
        listed[1].reason,
        "the consumer did not accept events for too long"
    );
    let now = place.clock.now();
    let one = [("media".to_owned(), listed[1].position)];
    let retry = async |db: &mut _, places, limit| {
        dead_letters::retry(db, places, now, limit).await.unwrap()
    };
    assert_eq!(retry(&mut db, Some(&one[..]), 10).await, 1);
    outbox.deliver_once().await.unwrap();
    assert_eq!(place.effects("ada").await, [1]);
    assert_eq!(retry(&mut db, Some(&one[..]), 10).await, 0);
    assert_eq!(retry(&mut db, None, 20).await, 20, "a round has a bound");
    assert_eq!(retry(&mut db, None, 20).await, 5);
    outbox.deliver_once().await.unwrap();
    assert_eq!(place.effects("ada").await.len(), 25);
}

#[tokio::test]
async fn without_a_consumer_events_are_kept_for_a_time() {
    let place = Place::new().await;
    let nowhere = place.outbox_with(([127, 0, 0, 1], 1).into(), |it| it.consumers.clear());
    place.publish(&nowhere, "ada").await;
    place.advance(29 * 86_400);
    nowhere.purge().await.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM outbox").await, 1);
    place.advance(2 * 86_400);
    nowhere.purge().await.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM outbox").await, 0);
}

#[tokio::test]
async fn a_consumer_that_fails_at_everything_makes_no_dead_letters() {
    let place = Place::new().await;
    let consumer = place.consumer(Counting::default()).await;
    let outbox = place.outbox(consumer.address);
    for subject in ["ada", "eve", "ada"] {
        place.publish(&outbox, subject).await;
    }
    consumer.answer(Some(StatusCode::INTERNAL_SERVER_ERROR));
    for _ in 0..3 * MAX_TRIES {
        outbox.deliver_once().await.unwrap();
        place.advance(HOUR);
    }
    assert_eq!(place.metric("events_dead_total{"), "0");
    consumer.answer(None);
    outbox.deliver_once().await.unwrap();
    place.assert_all_once_in_order().await;

    // One that alone fails, while others are applied.
    place.publish(&outbox, "mallory").await;
    let fail = async |times| {
        consumer.answer(Some(StatusCode::INTERNAL_SERVER_ERROR));
        for _ in 0..times {
            outbox.deliver_once().await.unwrap();
            place.advance(HOUR);
        }
        consumer.answer(None);
    };
    consumer.answer(Some(StatusCode::INTERNAL_SERVER_ERROR));
    outbox.deliver_once().await.unwrap();
    consumer.answer(None);
    place.publish(&outbox, "ada").await;
    outbox.deliver_once().await.unwrap();
    place.advance(HOUR);
    fail(MAX_TRIES).await;
    assert_eq!(place.metric("events_dead_total{"), "1");
}

/// Its retries have a bound, too.
#[tokio::test]
async fn an_event_at_which_a_consumer_fails_is_given_up_when_it_is_old() {
    let place = Place::new().await;
    let consumer = place.consumer(Counting::default()).await;
    let outbox = place.outbox_with(consumer.address, |it| it.max_wait_seconds = 36_009);
    place.publish(&outbox, "ada").await;
    consumer.answer(Some(StatusCode::INTERNAL_SERVER_ERROR));
    for _ in 0..10 {
        outbox.deliver_once().await.unwrap();
        assert_eq!(place.metric("events_dead_total{"), "0");
        place.advance(HOUR);
    }
    outbox.deliver_once().await.unwrap();
    assert_eq!(place.metric("events_dead_total{"), "1");
}

/// What waits for an earlier event of its subject is not due before that one is.
#[tokio::test]
async fn polls_write_nothing_while_every_retry_waits() {
    let place = Place::new().await;
    let consumer = place.consumer(Counting::broken("eve", "reject")).await;
    let outbox = place.outbox(consumer.address);
    for _ in 0..2 {
        place.publish(&outbox, "eve").await;
    }
    outbox.deliver_once().await.unwrap();
    let version = async || -> String {
        let version = sqlx::query_scalar("SELECT xmin::text || ctid::text FROM outbox_cursors");
        version.fetch_one(&place.db).await.unwrap()
    };
    let (before, requests) = (version().await, consumer.requests());
    for _ in 0..3 {
        outbox.deliver_once().await.unwrap();
    }
    assert_eq!(version().await, before, "no lease was taken");
    place.advance(HOUR);
    outbox.deliver_once().await.unwrap();
    assert_eq!(consumer.requests(), requests + 1, "a retry that is due");
}
