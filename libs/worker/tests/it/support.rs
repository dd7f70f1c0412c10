//! A queue in a database of its own, and a worker that counts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use quartet_common::clock::Clock;
use quartet_jobs::Runner;
use quartet_telemetry::metrics::Metrics;
use quartet_testing::TestDatabase;
use quartet_worker::{Permanent, Settings, Task, Tasks, Worker};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

const TIMEOUT: Duration = Duration::from_secs(30);

/// What the tasks have done, and what they are to do.
#[derive(Clone, Default)]
pub(crate) struct Counts {
    pub(crate) done: Arc<AtomicUsize>,
    /// Runs that fail before one succeeds.
    pub(crate) failures: Arc<AtomicUsize>,
}

impl Counts {
    pub(crate) fn done(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Count {
    pub(crate) panics: bool,
}

impl Task for Count {
    const NAME: &'static str = "count";
    const MAX_ATTEMPTS: u16 = 2;
    type Context = Counts;

    async fn run(self, counts: Counts) -> anyhow::Result<()> {
        let left = counts.failures.load(Ordering::SeqCst);
        if left > 0 {
            counts.failures.fetch_sub(1, Ordering::SeqCst);
            assert!(!self.panics, "a bug");
            anyhow::bail!("the store is away");
        }
        counts.done.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Never succeeds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Refuse {}

impl Task for Refuse {
    const NAME: &'static str = "refuse";
    type Context = Counts;

    async fn run(self, counts: Counts) -> anyhow::Result<()> {
        counts.done.fetch_add(1, Ordering::SeqCst);
        Err(Permanent(anyhow::anyhow!("there is no such user")).into())
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Begin {}

impl Task for Begin {
    const NAME: &'static str = "begin";
    const CRON: Option<&'static str> = Some("0 0 1 1 *");
    const AT_START: bool = true;
    type Context = Counts;

    async fn run(self, counts: Counts) -> anyhow::Result<()> {
        counts.done.fetch_add(100, Ordering::SeqCst);
        Ok(())
    }
}

/// Takes no payload but its own.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Often {}

impl Task for Often {
    const NAME: &'static str = "often";
    const CRON: Option<&'static str> = Some("* * * * *");
    type Context = Counts;

    async fn run(self, counts: Counts) -> anyhow::Result<()> {
        counts.done.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

pub(crate) struct Place {
    pub(crate) database: TestDatabase,
    pub(crate) db: PgPool,
}

/// A worker; dropping it is not a clean stop.
pub(crate) struct Working {
    pub(crate) metrics: Metrics,
    pub(crate) worker: Worker,
    pub(crate) runner: Runner,
    pub(crate) shutdown: CancellationToken,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let database = TestDatabase::empty("core").await;
        let owner = PgPool::connect(&database.owner_url()).await.unwrap();
        quartet_worker::migrate(&owner, "core").await.unwrap();
        // Again, as with every deployment.
        quartet_worker::migrate(&owner, "core").await.unwrap();
        let db = PgPool::connect(&database.url()).await.unwrap();
        Self { database, db }
    }

    /// Everything below runs in the role that serves: it owns nothing.
    pub(crate) fn start<C: Clone + Send + Sync + 'static>(&self, tasks: Tasks<C>) -> Working {
        Self::start_on(self.db.clone(), tasks)
    }

    pub(crate) fn start_on<C: Clone + Send + Sync + 'static>(
        db: PgPool,
        tasks: Tasks<C>,
    ) -> Working {
        let metrics = Metrics::new("test");
        let settings = settings();
        let shutdown = settings.shutdown.clone();
        let mut runner = Runner::new(&metrics, Clock::system(), shutdown.clone());
        let worker = Worker::new(db, "core", tasks, settings, &metrics);
        worker.start(&mut runner);
        Working {
            metrics,
            worker,
            runner,
            shutdown,
        }
    }

    pub(crate) async fn number(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.db).await.unwrap()
    }

    /// Lets retries be due.
    pub(crate) async fn hurry(&self) {
        let hurry = "UPDATE _private_jobs SET run_at = now() WHERE run_at > now()";
        sqlx::query(hurry).execute(&self.db).await.unwrap();
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        concurrency: 2,
        poll_interval: Duration::from_millis(50),
        grace: Duration::from_secs(5),
        dead_after: Duration::from_secs(3),
        shutdown: CancellationToken::new(),
    }
}

/// Waits until a condition holds.
pub(crate) async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, waiting).await.unwrap();
}
