//! Behind PgBouncer in transaction mode, whose sessions change hands.

use std::time::Duration;

use quartet_testing::Pooler;
use quartet_worker::{Tasks, add};

use crate::support::{Begin, Count, Counts, Place, until};

/// Two workers have more connections than there are sessions.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_added_and_done_behind_a_pooler_in_transaction_mode() {
    let place = Place::new().await;
    let Some(pooler) = Pooler::start(&place.database) else {
        return;
    };
    let settings = pooler.settings(&place.database);
    let pool = || quartet_db::pool(&settings, "test-queue").unwrap();
    let counts = Counts::default();
    counts
        .failures
        .store(1, std::sync::atomic::Ordering::SeqCst);
    let tasks = || Tasks::new(counts.clone()).with::<Count>();
    let workers = [
        Place::start_on(pool(), tasks().with::<Begin>()),
        Place::start_on(pool(), tasks()),
    ];
    let db = pool();
    for _ in 0..50 {
        let mut tx = quartet_db::begin(&db).await.unwrap();
        add(&mut tx, &Count::default(), None).await.unwrap();
        tx.commit().await.unwrap();
    }
    until(async || {
        place.hurry().await;
        counts.done() == 150
    })
    .await;
    until(async || place.number("SELECT count(*) FROM jobs").await == 0).await;
    for working in workers {
        working.worker.watch(&|| false).await.unwrap();
        let text = working.metrics.render();
        let failures = "job_failures_total{service=\"test\",job_name=\"worker\"} 0";
        assert!(text.contains(failures), "{text}");
        working.runner.stop(Duration::from_secs(5)).await.unwrap();
    }
    assert_eq!(counts.done(), 150);
}
