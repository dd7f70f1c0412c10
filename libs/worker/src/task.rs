//! What a task is, and how one run of it ends.

use std::{fmt, future::Future, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt as _;
use graphile_worker::{IntoTaskHandlerResult, TaskHandler, WorkerContext};
use quartet_common::causes;
use quartet_telemetry::{RUN, Run, panic_message};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::metrics::TaskMetrics;

/// What the clock adds to payloads that are objects.
const TICK: &str = "_cron";

/// A kind of durable job. The fields of the type are its payload.
pub trait Task: Serialize + DeserializeOwned + Send + Sync + 'static {
    const NAME: &'static str;
    /// When the task is added by itself, such as `*/5 * * * *`, in UTC. One job per tick, however many
    /// workers there are, and none while the one of an earlier tick waits. A tick that no worker has
    /// seen is made up for by the next worker that starts within ten minutes.
    const CRON: Option<&'static str> = None;
    /// Whether each worker adds the task when it starts, unless it waits already.
    const AT_START: bool = false;
    /// The pause before a retry grows exponentially, from seconds to hours.
    const MAX_ATTEMPTS: u16 = 10;
    const TIME_LIMIT: Duration = Duration::from_mins(15);

    /// What the task works with.
    type Context: Clone + Send + Sync + 'static;

    /// Does the work, which may have been done before.
    fn run(self, context: Self::Context) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// What runs have in common.
#[derive(Clone)]
pub(crate) struct TaskContext<C> {
    pub(crate) context: C,
    pub(crate) metrics: TaskMetrics,
}

impl<C> fmt::Debug for TaskContext<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskContext")
    }
}

/// The task as the queue knows it.
#[derive(Serialize)]
#[serde(transparent, bound = "")]
pub(crate) struct Handler<T: Task>(T);

/// The clock of the queue adds jobs with the payload `null`, or with the time of the tick in it: both
/// stand for a task without arguments.
impl<'de, T: Task> Deserialize<'de> for Handler<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut payload = Value::deserialize(from)?;
        if payload.is_null() {
            payload = json!({});
        }
        if let Some(fields) = payload.as_object_mut() {
            fields.remove(TICK);
        }
        T::deserialize(payload).map(Self).map_err(D::Error::custom)
    }
}

impl<T: Task> TaskHandler for Handler<T> {
    const IDENTIFIER: &'static str = T::NAME;

    async fn run(self, ctx: WorkerContext) -> impl IntoTaskHandlerResult {
        let Some(shared) = ctx.get_ext::<TaskContext<T::Context>>().cloned() else {
            return Err("the worker has another context".to_owned());
        };
        let started = Instant::now();
        let work = RUN.scope(Run::Task(T::NAME), self.0.run(shared.context));
        let work = AssertUnwindSafe(work).catch_unwind();
        let ended = match tokio::time::timeout(T::TIME_LIMIT, work).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(causes(error.as_ref())),
            Ok(Err(panic)) => Err(format!("panic: {}", panic_message(&*panic))),
            Err(_) => Err(format!("not done within {} s", T::TIME_LIMIT.as_secs())),
        };
        let took = started.elapsed();
        let job = ctx.job();
        let last = job.attempts() >= job.max_attempts();
        shared.metrics.ended(T::NAME, ended.is_ok(), last, took);
        if let Err(error) = &ended {
            let (task, attempt) = (T::NAME, *job.attempts());
            if last {
                tracing::error!(target: "quartet", task, attempt, error, "task failed for good; kept as a dead letter");
            } else {
                tracing::warn!(target: "quartet", task, attempt, error, "task failed");
            }
        }
        ended
    }
}
