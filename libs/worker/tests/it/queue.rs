//! Adding, retrying, giving up.

use std::{sync::atomic::Ordering, time::Duration};

use quartet_common::config::Database;
use quartet_testing::{Proxy, assert_ticks_done, miss_ticks};
use quartet_worker::{Tasks, add, dead_letters};

use crate::support::{Begin, Count, Counts, Often, Place, Refuse, settings, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_done_if_its_transaction_commits_and_once() {
    let place = Place::new().await;
    let counts = Counts::default();
    let tasks = || Tasks::new(counts.clone()).with::<Count>();
    let workers = [place.start(tasks()), place.start(tasks())];
    let mut tx = quartet_db::begin(&place.db).await.unwrap();
    add(&mut tx, &Count::default(), None).await.unwrap();
    tx.rollback().await.unwrap();
    for _ in 0..50 {
        let mut tx = quartet_db::begin(&place.db).await.unwrap();
        add(&mut tx, &Count::default(), None).await.unwrap();
        tx.commit().await.unwrap();
    }
    until(async || counts.done() >= 50).await;
    for working in workers {
        working.runner.stop(Duration::from_secs(5)).await.unwrap();
    }
    assert_eq!(counts.done(), 50);
    assert_eq!(place.number("SELECT count(*) FROM jobs").await, 0);
}

/// As after a failover that closes no connection.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_done_after_the_database_has_vanished_without_a_word() {
    let place = Place::new().await;
    let counts = Counts::default();
    let (server, url) = Proxy::start(&place.database.url()).await;
    let settings = Database {
        url: url.into(),
        statement_timeout_seconds: 1,
        ..place.database.settings()
    };
    let db = quartet_db::pool(&settings, "test").unwrap();
    let working = Place::start_on(db, Tasks::new(counts.clone()).with::<Count>());
    for done in 1..=2 {
        let mut tx = quartet_db::begin(&place.db).await.unwrap();
        add(&mut tx, &Count::default(), None).await.unwrap();
        tx.commit().await.unwrap();
        until(async || counts.done() >= done).await;
        server.vanish();
    }
    drop(working);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_queued_once() {
    let place = Place::new().await;
    let mut db = quartet_db::write(&place.db).await.unwrap();
    for _ in 0..3 {
        add(&mut db, &Count::default(), Some("one")).await.unwrap();
    }
    assert_eq!(place.number("SELECT count(*) FROM jobs").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_is_tried_again_and_at_last_given_up() {
    for panics in [false, true] {
        let place = Place::new().await;
        let counts = Counts::default();
        counts.failures.store(3, Ordering::SeqCst);
        let working = place.start(Tasks::new(counts.clone()).with::<Count>());
        let mut db = quartet_db::write(&place.db).await.unwrap();
        // One succeeds in the second attempt; of the other two attempts none does.
        add(&mut db, &Count { panics }, None).await.unwrap();
        let dead = "SELECT count(*) FROM jobs WHERE attempts >= max_attempts AND locked_at IS NULL";
        until(async || {
            place.hurry().await;
            place.number(dead).await == 1
        })
        .await;
        assert_eq!(counts.done(), 0, "panics: {panics}");
        add(&mut db, &Count { panics }, None).await.unwrap();
        until(async || {
            place.hurry().await;
            counts.done() == 1
        })
        .await;
        working.worker.watch(&|| false).await.unwrap();
        assert_eq!(working.worker.notices(), ["1 dead letters"]);
        let text = working.metrics.render();
        for line in [
            "tasks_runs_total{service=\"test\",task=\"count\",outcome=\"dead\"} 1",
            "tasks_runs_total{service=\"test\",task=\"count\",outcome=\"failed\"} 2",
            "tasks_runs_total{service=\"test\",task=\"count\",outcome=\"done\"} 1",
            "tasks_dead_letters{service=\"test\"} 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        let reason: String = sqlx::query_scalar("SELECT last_error FROM jobs")
            .fetch_one(&place.db)
            .await
            .unwrap();
        let expected = if panics {
            "panic: a bug"
        } else {
            "the store is away"
        };
        assert!(reason.contains(expected), "{reason}");
        // Dead letters are kept for a month.
        let age = "UPDATE _private_jobs SET updated_at = now() - interval '31 days'";
        sqlx::query("ALTER TABLE _private_jobs DISABLE TRIGGER USER")
            .execute(&mut place.database.connect_as_owner().await)
            .await
            .unwrap();
        sqlx::query(age).execute(&place.db).await.unwrap();
        working.worker.watch(&|| false).await.unwrap();
        assert_eq!(place.number("SELECT count(*) FROM jobs").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_retry_would_change_is_a_dead_letter_at_once() {
    let place = Place::new().await;
    let counts = Counts::default();
    let tasks = Tasks::new(counts.clone()).with::<Refuse>().with::<Count>();
    let working = place.start(tasks);
    let mut db = place.database.connect_as_role().await;
    add(&mut db, &Refuse {}, None).await.unwrap();
    let unreadable = "SELECT FROM add_job('count', payload => '{\"panics\": 1}')";
    sqlx::query(unreadable).execute(&mut db).await.unwrap();
    let dead = "SELECT count(*) FROM jobs WHERE attempts >= max_attempts AND locked_at IS NULL";
    until(async || place.number(dead).await == 2).await;
    assert_eq!(counts.done(), 1);
    let text = working.metrics.render();
    for task in ["refuse", "count"] {
        let line = format!("task=\"{task}\",outcome=\"dead\"}} 1");
        assert!(text.contains(&line), "{line} in {text}");
    }
    let listed = dead_letters::list(&mut db, 10).await.unwrap();
    let reasons = ["there is no such user", "the payload cannot be read"];
    for reason in reasons {
        assert!(
            listed.iter().any(|job| job.reason.contains(reason)),
            "{listed:?}"
        );
    }
    // With all their attempts.
    assert_eq!(dead_letters::retry(&mut db, None, 10).await.unwrap(), 2);
    until(async || counts.done() == 2 && place.number(dead).await == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_adds_what_is_to_be_done_at_its_start() {
    let place = Place::new().await;
    let counts = Counts::default();
    let working = place.start(Tasks::new(counts.clone()).with::<Begin>());
    until(async || counts.done() == 100).await;
    let crontabs = "SELECT count(*) FROM _private_known_crontabs WHERE identifier = 'begin'";
    // The clock may start after the first job.
    until(async || place.number(crontabs).await == 1).await;
    working.runner.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_that_no_worker_has_seen_is_made_up_for() {
    let place = Place::new().await;
    let mut db = place.database.connect_as_role().await;
    miss_ticks(&mut db, &["often"]).await;
    let counts = Counts::default();
    let working = place.start(Tasks::new(counts.clone()).with::<Often>());
    assert_ticks_done(&mut db, &working.metrics, &["often"]).await;
    assert!(counts.done() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_and_tried_again() {
    let place = Place::new().await;
    let counts = Counts::default();
    counts.failures.store(6, Ordering::SeqCst);
    let working = place.start(Tasks::new(counts.clone()).with::<Count>());
    let mut db = place.database.connect_as_role().await;
    for _ in 0..3 {
        add(&mut db, &Count::default(), None).await.unwrap();
    }
    let dead = "SELECT count(*) FROM jobs WHERE attempts >= max_attempts AND locked_at IS NULL";
    until(async || {
        place.hurry().await;
        place.number(dead).await == 3
    })
    .await;
    let listed = dead_letters::list(&mut db, 2).await.unwrap();
    assert_eq!(listed.len(), 2, "the list has a bound");
    assert_eq!((listed[0].task.as_str(), listed[0].attempts), ("count", 2));
    assert!(listed[0].reason.contains("the store is away"), "{listed:?}");
    let one = [listed[0].id];
    let retried = dead_letters::retry(&mut db, Some(&one), 10).await.unwrap();
    assert_eq!(retried, 1);
    until(async || counts.done() == 1).await;
    assert_eq!(
        dead_letters::retry(&mut db, Some(&one), 10).await.unwrap(),
        0
    );
    assert_eq!(
        dead_letters::retry(&mut db, None, 1).await.unwrap(),
        1,
        "a round has a bound"
    );
    assert_eq!(dead_letters::retry(&mut db, None, 10).await.unwrap(), 1);
    until(async || counts.done() == 3).await;
    working.runner.stop(Duration::from_secs(5)).await.unwrap();
}

/// Requests in flight may keep the process for long after that.
#[tokio::test]
async fn no_job_is_taken_once_the_process_shuts_down() {
    let place = Place::new().await;
    let counts = Counts::default();
    let working = place.start(Tasks::new(counts.clone()).with::<Count>());
    let mut db = quartet_db::write(&place.db).await.unwrap();
    add(&mut db, &Count::default(), None).await.unwrap();
    until(async || counts.done() == 1).await;
    working.shutdown.cancel();
    // The worker says so when it has stopped to look.
    let alive = "SELECT count(*) FROM _private_workers";
    until(async || place.number(alive).await == 0).await;
    add(&mut db, &Count::default(), None).await.unwrap();
    tokio::time::sleep(settings().poll_interval * 4).await;
    assert_eq!(counts.done(), 1);
    let runs = working.metrics.render();
    let failed = "job_failures_total{service=\"test\",job_name=\"worker\"} 0";
    assert!(runs.contains(failed), "{runs}");
    working.runner.stop(Duration::from_secs(5)).await.unwrap();
}
