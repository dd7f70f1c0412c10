//! The clock of durable jobs, which would keep a test waiting for the next minute.

use std::time::Duration;

use quartet_telemetry::metrics::Metrics;
use sqlx::PgConnection;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Lets the clock of a worker that is not started yet have missed a tick of these tasks: it makes up
/// for them at once.
///
/// # Panics
/// When the database does not respond, or a worker has run.
pub async fn miss_ticks(db: &mut PgConnection, tasks: &[&str]) {
    let missed = "INSERT INTO _private_known_crontabs (identifier, known_since, last_execution)
        SELECT task, now() - interval '1 day', now() - interval '5 minutes' FROM unnest($1) AS task";
    sqlx::query(missed)
        .bind(tasks)
        .execute(db)
        .await
        .expect("no worker has run");
}

/// Waits until the worker with these metrics has made up for a tick of each of `tasks`, which are all
/// that the clock knows, and every job is done.
///
/// # Panics
/// When that is not so in time.
pub async fn assert_ticks_done(db: &mut PgConnection, metrics: &Metrics, tasks: &[&str]) {
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    loop {
        let state = "SELECT coalesce(array_agg(identifier ORDER BY identifier), '{}'),
                coalesce(bool_and(last_execution > now() - interval '3 minutes'), false),
                (SELECT coalesce(array_agg(last_error), '{}') FROM _private_jobs)
            FROM _private_known_crontabs";
        let (known, ticked, left): (Vec<String>, bool, Vec<Option<String>>) = sqlx::query_as(state)
            .fetch_one(&mut *db)
            .await
            .expect("the database responds");
        if ticked && left.is_empty() {
            assert_eq!(known, tasks, "the tasks of the clock");
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "left: {left:?}");
    }
    let text = metrics.render();
    for task in tasks {
        let done = format!("task=\"{task}\",outcome=\"done\"");
        assert!(text.contains(&done), "{task}: {text}");
    }
    assert!(!text.contains("outcome=\"failed\""), "{text}");
}
