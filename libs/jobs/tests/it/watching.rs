use quartet_jobs::{Job, Stale};

use crate::support::{Log, SECOND, pass, runner};

fn same(left: f64, right: f64) -> bool {
    (left - right).abs() < 1e-9
}

#[tokio::test(start_paused = true)]
async fn metrics_count_runs_failures_and_durations() {
    let mut test = runner();
    let log = Log::new();
    test.runner.start(
        Job::periodic("sweep", 100 * SECOND, move |_| {
            let run = log.note();
            async move {
                pass(2 * SECOND).await;
                anyhow::ensure!(run != 2, "no");
                Ok(())
            }
        })
        .jitter(0.0)
        .immediately(),
    );
    let before = test.value("job_last_success_timestamp_seconds", "sweep");
    assert!(before > 1.7e9, "the time of the start: {before}");
    pass(103 * SECOND).await;
    assert!(same(test.value("job_runs_total", "sweep"), 1.0));
    assert!(same(test.value("job_failures_total", "sweep"), 0.0));
    pass(2 * SECOND).await;
    assert!(same(test.value("job_runs_total", "sweep"), 2.0));
    assert!(same(test.value("job_failures_total", "sweep"), 1.0));
    assert!(same(test.value("job_duration_seconds_sum", "sweep"), 4.0));
    assert!(same(test.value("job_stale_after_seconds", "sweep"), 300.0));
    assert!(test.value("job_last_success_timestamp_seconds", "sweep") >= before);
}

#[tokio::test(start_paused = true)]
async fn a_job_is_stale_after_three_periods_without_a_success() {
    let mut test = runner();
    let monitor = test.runner.monitor();
    let log = Log::new();
    test.runner.start(
        Job::periodic("sweep", 100 * SECOND, move |_| {
            let run = log.note();
            async move {
                anyhow::ensure!(run > 9, "no");
                Ok(())
            }
        })
        .jitter(0.0),
    );
    test.runner
        .start(Job::periodic("purge", 100 * SECOND, |_| async {
            anyhow::Ok(())
        }));
    pass(299 * SECOND).await;
    assert_eq!(monitor.stale(), []);
    pass(2 * SECOND).await;
    let stale = monitor.stale();
    let [Stale { name, failures, .. }] = &stale[..] else {
        panic!("{stale:?}")
    };
    assert_eq!((*name, *failures), ("sweep", 9));
    let text = stale[0].to_string();
    assert_eq!(text, "sweep: no success for 301 s, 9 failures in a row");
    pass(600 * SECOND).await;
    assert_eq!(monitor.stale(), []);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_hangs_makes_its_job_stale() {
    let mut test = runner();
    test.runner.start(
        Job::periodic("hanging", SECOND, |_| {
            std::future::pending::<anyhow::Result<()>>()
        })
        .immediately(),
    );
    let monitor = test.runner.monitor();
    pass(59 * SECOND).await;
    assert_eq!(monitor.stale(), [], "not before a minute");
    pass(2 * SECOND).await;
    assert_eq!(monitor.stale().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_continuous_job_stays_fresh_while_it_reports_progress() {
    let mut test = runner();
    test.runner
        .start(Job::continuous("listen", 100 * SECOND, |run| async move {
            for _ in 0..10 {
                run.succeeded();
                pass(100 * SECOND).await;
            }
            std::future::pending::<anyhow::Result<()>>().await
        }));
    let monitor = test.runner.monitor();
    pass(1000 * SECOND).await;
    assert_eq!(monitor.stale(), []);
    pass(300 * SECOND).await;
    assert_eq!(monitor.stale()[0].name, "listen");
}
