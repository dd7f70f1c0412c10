use std::{sync::Arc, time::Duration};

use quartet_jobs::{Backoff, Job};
use tokio::sync::Notify;

use crate::support::{Log, SECOND, pass, runner};

#[tokio::test(start_paused = true)]
async fn the_first_run_waits_for_a_period_unless_it_starts_immediately() {
    let mut test = runner();
    let (later, now) = (Log::new(), Log::new());
    let log = later.clone();
    test.runner.start(
        Job::periodic("later", 60 * SECOND, move |_| {
            log.note();
            async { anyhow::Ok(()) }
        })
        .jitter(0.0),
    );
    let log = now.clone();
    test.runner.start(
        Job::periodic("now", 60 * SECOND, move |_| {
            log.note();
            async { anyhow::Ok(()) }
        })
        .jitter(0.0)
        .immediately(),
    );
    pass(SECOND).await;
    assert_eq!((later.count(), now.count()), (0, 1));
    pass(60 * SECOND).await;
    assert_eq!((later.count(), now.count()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_panics_keeps_running() {
    let mut test = runner();
    let log = Log::new();
    let runs = log.clone();
    test.runner.start(Job::periodic("flaky", SECOND, move |_| {
        let run = runs.note();
        async move {
            assert!(run.is_multiple_of(2), "run {run} panics");
            anyhow::Ok(())
        }
    }));
    pass(60 * SECOND).await;
    assert!(log.count() > 30, "{} runs", log.count());
    assert!(test.value("job_failures_total", "flaky") > 15.0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_before_the_future_exists_is_a_failed_run() {
    let mut test = runner();
    let log = Log::new();
    let runs = log.clone();
    test.runner.start(
        Job::periodic("eager", SECOND, move |_| {
            assert!(runs.note() > 1, "the first run panics");
            async { anyhow::Ok(()) }
        })
        .immediately(),
    );
    pass(10 * SECOND).await;
    assert!(log.count() > 5);
    assert!((test.value("job_failures_total", "eager") - 1.0).abs() < f64::EPSILON);
}

#[tokio::test(start_paused = true)]
async fn the_backoff_doubles_up_to_its_bound_and_ends_with_a_success() {
    let mut test = runner();
    let log = Log::new();
    let runs = log.clone();
    test.runner.start(
        Job::periodic("failing", 100 * SECOND, move |_| {
            let run = runs.note();
            async move {
                anyhow::ensure!(run == 7, "no");
                Ok(())
            }
        })
        .jitter(0.0)
        .immediately()
        .backoff(Backoff {
            first: SECOND,
            max: 8 * SECOND,
        }),
    );
    pass(240 * SECOND).await;
    assert_eq!(log.gaps()[..8], [1, 2, 4, 8, 8, 8, 100, 1]);
}

#[tokio::test(start_paused = true)]
async fn waits_vary_within_the_jitter() {
    let mut test = runner();
    let log = Log::new();
    let runs = log.clone();
    test.runner.start(
        Job::periodic("varied", 100 * SECOND, move |_| {
            runs.note();
            async { anyhow::Ok(()) }
        })
        .jitter(0.2),
    );
    pass(3000 * SECOND).await;
    let gaps = log.gaps();
    assert!(gaps.iter().all(|gap| (80..=120).contains(gap)), "{gaps:?}");
    assert!(gaps.iter().any(|gap| *gap != gaps[0]), "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn a_notification_starts_a_run_and_one_during_a_run_another() {
    let mut test = runner();
    let (log, wake) = (Log::new(), Arc::new(Notify::new()));
    let runs = log.clone();
    test.runner.start(
        Job::periodic("woken", 3600 * SECOND, move |_| {
            runs.note();
            async {
                pass(5 * SECOND).await;
                anyhow::Ok(())
            }
        })
        .wake_on(Arc::clone(&wake)),
    );
    pass(SECOND).await;
    wake.notify_one();
    pass(SECOND).await;
    assert_eq!(log.count(), 1);
    wake.notify_one();
    wake.notify_one();
    pass(60 * SECOND).await;
    assert_eq!(log.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_notification_does_not_cut_a_backoff_short() {
    let mut test = runner();
    let (log, wake) = (Log::new(), Arc::new(Notify::new()));
    let runs = log.clone();
    test.runner.start(
        Job::periodic("failing", 3600 * SECOND, move |_| {
            runs.note();
            async { anyhow::bail!("no") }
        })
        .immediately()
        .jitter(0.0)
        .backoff(Backoff {
            first: 10 * SECOND,
            max: 10 * SECOND,
        })
        .wake_on(Arc::clone(&wake)),
    );
    pass(SECOND).await;
    for _ in 0..5 {
        wake.notify_one();
        pass(SECOND).await;
    }
    assert_eq!(log.count(), 1);
    pass(5 * SECOND).await;
    assert_eq!(log.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_continuous_job_is_restarted_and_its_progress_resets_the_backoff() {
    let mut test = runner();
    let log = Log::new();
    let runs = log.clone();
    test.runner.start(
        Job::continuous("listen", 100 * SECOND, move |run| {
            let number = runs.note();
            async move {
                if number == 4 {
                    run.succeeded();
                }
                anyhow::Ok(())
            }
        })
        .jitter(0.0)
        .backoff(Backoff {
            first: SECOND,
            max: 60 * SECOND,
        }),
    );
    pass(30 * SECOND).await;
    assert_eq!(log.gaps()[..5], [1, 2, 4, 1, 2]);
}

#[tokio::test]
async fn run_once_returns_the_error_of_the_run() {
    let job = Job::periodic("purge", Duration::from_hours(1), |_| async {
        anyhow::bail!("database unavailable")
    });
    let error = job.run_once().await.unwrap_err();
    assert_eq!(error.to_string(), "database unavailable");
}
