use std::time::Duration;

use quartet_jobs::Job;
use tokio::time::Instant;

use crate::support::{Log, SECOND, pass, runner};

/// After this long without a success essential work is stale.
const LIMIT: Duration = Duration::from_mins(1);
const GRACE: Duration = Duration::from_secs(20);

fn slow(name: &'static str, log: &Log, length: Duration) -> Job {
    let log = log.clone();
    Job::periodic(name, SECOND, move |_| {
        let log = log.clone();
        async move {
            pass(length).await;
            log.note();
            anyhow::Ok(())
        }
    })
    .immediately()
}

#[tokio::test(start_paused = true)]
async fn a_run_in_progress_is_awaited() {
    let mut test = runner();
    let finished = Log::new();
    test.runner.start(slow("sweep", &finished, 10 * SECOND));
    pass(SECOND).await;
    let stopping = Instant::now();
    assert!(test.runner.stop(GRACE).await.unwrap().is_empty());
    assert_eq!(finished.count(), 1);
    assert_eq!(stopping.elapsed().as_secs(), 9);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_may_be_canceled_is_canceled_immediately() {
    let mut test = runner();
    let finished = Log::new();
    let job = slow("purge", &finished, 10 * SECOND).cancel_at_stop();
    test.runner.start(job);
    pass(SECOND).await;
    let stopping = Instant::now();
    assert!(test.runner.stop(GRACE).await.unwrap().is_empty());
    assert_eq!((finished.count(), stopping.elapsed().as_secs()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_outlasts_the_grace_period_is_canceled_and_named() {
    let mut test = runner();
    let finished = Log::new();
    test.runner.start(slow("stuck", &finished, 3600 * SECOND));
    test.runner.start(slow("quick", &finished, SECOND));
    pass(SECOND / 2).await;
    let stopping = Instant::now();
    assert_eq!(test.runner.stop(GRACE).await.unwrap(), ["stuck"]);
    assert_eq!((finished.count(), stopping.elapsed()), (1, GRACE));
}

#[tokio::test(start_paused = true)]
async fn a_run_sees_the_shutdown() {
    let mut test = runner();
    let steps = Log::new();
    let log = steps.clone();
    test.runner.start(
        Job::periodic("batches", SECOND, move |run| {
            let log = log.clone();
            async move {
                while !run.is_stopping() {
                    log.note();
                    pass(SECOND).await;
                }
                anyhow::Ok(())
            }
        })
        .immediately(),
    );
    pass(5 * SECOND).await;
    assert!(test.runner.stop(GRACE).await.unwrap().is_empty());
    assert!((5..=6).contains(&steps.count()), "{}", steps.count());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_runner_cancels_its_jobs() {
    let mut test = runner();
    let finished = Log::new();
    test.runner.start(slow("sweep", &finished, 10 * SECOND));
    pass(SECOND).await;
    drop(test.runner);
    pass(60 * SECOND).await;
    assert_eq!(finished.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn essential_work_that_fails_shuts_the_process_down_with_its_error() {
    let mut test = runner();
    test.runner.start_essential("flush", LIMIT, |_| async {
        pass(SECOND).await;
        anyhow::bail!("the click log cannot be read")
    });
    pass(SECOND / 2).await;
    assert!(!test.shutdown.is_cancelled());
    test.shutdown.cancelled().await;
    let error = test.runner.stop(GRACE).await.unwrap_err();
    assert_eq!(error.to_string(), "the click log cannot be read");
}

#[tokio::test(start_paused = true)]
async fn essential_work_that_panics_shuts_the_process_down() {
    let mut test = runner();
    test.runner
        .start_essential("flush", LIMIT, |_| async { panic!("index out of bounds") });
    test.shutdown.cancelled().await;
    let error = test.runner.stop(GRACE).await.unwrap_err();
    assert_eq!(error.to_string(), "panic: index out of bounds");
}

#[tokio::test(start_paused = true)]
async fn essential_work_is_awaited_within_the_grace_period() {
    let mut test = runner();
    let finished = Log::new();
    let log = finished.clone();
    test.runner.start_essential("flush", LIMIT, |_| async move {
        pass(10 * SECOND).await;
        log.note();
        Ok(())
    });
    assert!(test.runner.stop(GRACE).await.unwrap().is_empty());
    assert_eq!(finished.count(), 1);
    assert!(!test.shutdown.is_cancelled());
}

/// As other jobs: runs, failures, and staleness are those of its steps.
#[tokio::test(start_paused = true)]
async fn essential_work_is_watched_by_its_steps() {
    let mut test = runner();
    test.runner
        .start_essential("flush", LIMIT, |run| async move {
            run.attempted(SECOND, true);
            run.attempted(SECOND, false);
            run.attempted(SECOND, false);
            pass(2 * LIMIT).await;
            run.succeeded();
            std::future::pending().await
        });
    let monitor = test.runner.monitor();
    pass(LIMIT / 2).await;
    for (name, expected) in [
        ("job_runs_total", 3.0),
        ("job_failures_total", 2.0),
        ("job_duration_seconds_count", 3.0),
        ("job_stale_after_seconds", 60.0),
    ] {
        let found = test.value(name, "flush");
        assert!((found - expected).abs() < 1e-9, "{name}: {found}");
    }
    assert!(monitor.notices().is_empty());
    pass(LIMIT).await;
    let stale = monitor.notices();
    assert_eq!(stale, ["flush: no success for 90 s, 2 failures in a row"]);
    pass(LIMIT).await;
    assert!(monitor.notices().is_empty());
    drop(test.runner);
}
