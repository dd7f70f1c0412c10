//! SIGKILL of a worker in the middle of a job. The worker is a process: this test binary, running an
//! ignored test.

use std::time::Duration;

use quartet_testing::child::Logging;
use quartet_worker::{Task, Tasks, add};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use crate::support::{Counts, Place, settings, until};

/// The same task as the worker of the parent knows it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Hanging {}

impl Task for Hanging {
    const NAME: &'static str = "sweep";
    type Context = ();

    async fn run(self, (): ()) -> anyhow::Result<()> {
        println!("{}", serde_json::json!({ "msg": "inside" }));
        std::future::pending().await
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Quick {}

impl Task for Quick {
    const NAME: &'static str = "sweep";
    type Context = Counts;

    async fn run(self, counts: Counts) -> anyhow::Result<()> {
        counts
            .done
            .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_job_of_a_killed_worker_is_done_by_another() {
    let place = Place::new().await;
    let mut db = quartet_db::write(&place.db).await.unwrap();
    add(&mut db, &Quick {}, None).await.unwrap();
    let url = place.database.url();
    let mut child = Logging::start("kills::worker", &[("TEST_DATABASE", &url)]);
    let child = tokio::task::spawn_blocking(move || {
        child.find("inside");
        child
    });
    let child = child.await.unwrap();
    let counts = Counts::default();
    let working = place.start(Tasks::new(counts.clone()).with::<Quick>());
    let locked = "SELECT count(*) FROM jobs WHERE locked_at IS NOT NULL";
    // It lives: no one takes its job.
    tokio::time::sleep(settings().dead_after * 2).await;
    assert_eq!((counts.done(), place.number(locked).await), (0, 1));
    // Dropping it kills it.
    drop(child);
    until(async || counts.done() == 1).await;
    until(async || place.number("SELECT count(*) FROM jobs").await == 0).await;
    working.runner.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
#[ignore = "the worker of another test"]
async fn worker() {
    let db = PgPool::connect(&std::env::var("TEST_DATABASE").unwrap())
        .await
        .unwrap();
    let metrics = quartet_telemetry::metrics::Metrics::new("test");
    let shutdown = tokio_util::sync::CancellationToken::new();
    let clock = quartet_common::clock::Clock::system();
    let mut runner = quartet_jobs::Runner::new(&metrics, clock, shutdown);
    let tasks = Tasks::new(()).with::<Hanging>();
    quartet_worker::Worker::new(db, "core", tasks, settings(), &metrics).start(&mut runner);
    std::future::pending::<()>().await;
}
