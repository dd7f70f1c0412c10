//! What a job is: a name, a period, and a function that does the work once.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::progress::Progress;

/// A job is stale after this many periods without a success.
const STALE_AFTER_PERIODS: u32 = 3;
/// A short period does not make a job stale sooner than this.
const MIN_STALE_AFTER: Duration = Duration::from_mins(1);
const DEFAULT_JITTER: f64 = 0.1;

type RunFn = Box<dyn Fn(Run) -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

/// Work that is done again and again under a [`Runner`](crate::Runner).
pub struct Job {
    pub(crate) name: &'static str,
    pub(crate) period: Duration,
    pub(crate) continuous: bool,
    pub(crate) immediately: bool,
    pub(crate) cancel_at_stop: bool,
    pub(crate) backoff: Backoff,
    pub(crate) stale_after: Duration,
    pub(crate) wake: Option<Arc<Notify>>,
    jitter: f64,
    run: RunFn,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("name", &self.name)
            .field("period", &self.period)
            .finish_non_exhaustive()
    }
}

impl Job {
    /// A job that runs, waits for `period` after the end of the run, and runs again.
    ///
    /// The first run starts one period after the job does; see [`Job::immediately`]. At shutdown
    /// a run in progress is awaited; see [`Job::cancel_at_stop`].
    pub fn periodic<F, Fut, E>(name: &'static str, period: Duration, run: F) -> Self
    where
        F: Fn(Run) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<anyhow::Error>,
    {
        Self {
            name,
            period,
            continuous: false,
            immediately: false,
            cancel_at_stop: false,
            backoff: Backoff {
                first: Duration::from_secs(1),
                max: Duration::from_mins(1),
            },
            stale_after: (period * STALE_AFTER_PERIODS).max(MIN_STALE_AFTER),
            wake: None,
            jitter: DEFAULT_JITTER,
            run: Box::new(move |context| {
                let running = run(context);
                Box::pin(async move { running.await.map_err(Into::into) })
            }),
        }
    }

    /// A job whose run is meant to last as long as the process, such as listening for
    /// notifications. It starts immediately and is canceled at shutdown. A run that ends, with or
    /// without an error, has failed.
    ///
    /// The run calls [`Run::succeeded`] at least once per `period` while all is well. This resets
    /// the backoff and keeps the job from becoming stale.
    pub fn continuous<F, Fut, E>(name: &'static str, period: Duration, run: F) -> Self
    where
        F: Fn(Run) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<anyhow::Error>,
    {
        let job = Self {
            continuous: true,
            ..Self::periodic(name, period, run)
        };
        job.immediately().cancel_at_stop().backoff(Backoff {
            first: Duration::from_millis(100),
            max: Duration::from_secs(5),
        })
    }

    /// Starts the first run with the job instead of one period later.
    #[must_use]
    pub fn immediately(mut self) -> Self {
        self.immediately = true;
        self
    }

    /// Drops a run in progress at shutdown. For work that a cut in the middle cannot leave half
    /// done, such as single transactions.
    #[must_use]
    pub fn cancel_at_stop(mut self) -> Self {
        self.cancel_at_stop = true;
        self
    }

    /// Lets a run in progress end at shutdown, which it learns of by [`Run::stopping`]. For continuous
    /// jobs, which are canceled otherwise.
    #[must_use]
    pub fn finish_at_stop(mut self) -> Self {
        self.cancel_at_stop = false;
        self
    }

    /// Varies every wait by up to this share of it, so that replicas do not run in step. 0.1 by
    /// default; values outside 0 to 1 are clamped.
    #[must_use]
    pub fn jitter(mut self, share: f64) -> Self {
        self.jitter = share.clamp(0.0, 1.0);
        self
    }

    /// How long to wait after failures. By default from 1 s to a minute; from 0.1 s to 5 s for
    /// continuous jobs.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// The time without a success after which the job is reported as stale. Three periods by
    /// default, at least one minute.
    #[must_use]
    pub fn stale_after(mut self, limit: Duration) -> Self {
        self.stale_after = limit;
        self
    }

    /// Also runs on [`Notify::notify_one`]. A notification during a run causes one more run; one
    /// during a backoff waits for its end.
    #[must_use]
    pub fn wake_on(mut self, wake: Arc<Notify>) -> Self {
        self.wake = Some(wake);
        self
    }

    /// Runs once, unsupervised: for tests and commands.
    ///
    /// # Errors
    /// What the run returned.
    pub async fn run_once(&self) -> anyhow::Result<()> {
        let run = Run {
            stop: CancellationToken::new(),
            progress: None,
        };
        (self.run)(run).await
    }

    pub(crate) fn run(&self, run: Run) -> BoxFuture<'static, anyhow::Result<()>> {
        (self.run)(run)
    }

    pub(crate) fn pause(&self) -> Duration {
        self.vary(self.period)
    }

    pub(crate) fn pause_after(&self, failures: u32) -> Duration {
        self.vary(self.backoff.delay(failures))
    }

    fn vary(&self, wait: Duration) -> Duration {
        let share = self.jitter * (rand::random::<f64>() * 2.0 - 1.0);
        wait.mul_f64(1.0 + share)
    }
}

/// Bounds of the wait after a failure. It doubles with every failure in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// After many failures.
    pub max: Duration,
}

impl Backoff {
    /// The wait after this many failures in a row, without jitter.
    pub fn delay(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        self.first.saturating_mul(1 << doublings).min(self.max)
    }
}

/// One run of a job, as the work sees it.
#[derive(Clone, Debug)]
pub struct Run {
    pub(crate) stop: CancellationToken,
    pub(crate) progress: Option<Arc<Progress>>,
}

impl Run {
    /// Records a success before the run ends. Periodic jobs need not call it: a run that ends
    /// without an error is a success.
    pub fn succeeded(&self) {
        if let Some(progress) = &self.progress {
            progress.succeeded();
        }
    }

    /// Records a step of work that continues as long as the process does, as a run of its own.
    pub fn attempted(&self, duration: Duration, is_success: bool) {
        if let Some(progress) = &self.progress {
            progress.ended(duration);
            if is_success {
                progress.succeeded();
            } else {
                progress.failed();
            }
        }
    }

    /// Whether the process is shutting down. A long run checks it between two steps.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Resolves when the process shuts down.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }
}
