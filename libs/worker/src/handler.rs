//! How one run of a task ends.

use std::{fmt, marker::PhantomData, panic::AssertUnwindSafe};

use anyhow::Context as _;
use futures_util::FutureExt as _;
use graphile_worker::{IntoTaskHandlerResult, TaskHandler, WorkerContext};
use quartet_common::causes;
use quartet_telemetry::{RUN, Run, panic_message};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::time::Instant;

use crate::{
    metrics::TaskMetrics,
    store,
    task::{Permanent, Task},
};

/// What the scheduler of the queue adds to payloads that are objects.
const TICK: &str = "_cron";

/// What runs have in common.
#[derive(Clone)]
pub(crate) struct TaskContext<C> {
    pub(crate) db: PgPool,
    pub(crate) context: C,
    pub(crate) metrics: TaskMetrics,
}

impl<C> fmt::Debug for TaskContext<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskContext")
    }
}

/// The task as the queue knows it: with a payload that may be of another release.
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub(crate) struct Handler<T> {
    payload: Value,
    #[serde(skip)]
    task: PhantomData<fn() -> T>,
}

impl<T: Task> Handler<T> {
    /// The scheduler of the queue adds jobs with the payload `null`, or with the time of the tick in it:
    /// both stand for a task without arguments.
    fn task(mut self) -> anyhow::Result<T> {
        if self.payload.is_null() {
            self.payload = json!({});
        }
        if let Some(fields) = self.payload.as_object_mut() {
            fields.remove(TICK);
        }
        let task = serde_json::from_value(self.payload).context("the payload cannot be read");
        Ok(task.map_err(Permanent)?)
    }
}

impl<T: Task> TaskHandler for Handler<T> {
    const IDENTIFIER: &'static str = T::NAME;

    async fn run(self, ctx: WorkerContext) -> impl IntoTaskHandlerResult {
        // The type of `Tasks` rules this out.
        let Some(shared) = ctx.get_ext::<TaskContext<T::Context>>().cloned() else {
            return Err("the worker has another context".to_owned());
        };
        let started = Instant::now();
        let work = async { self.task()?.run(shared.context).await };
        let work = AssertUnwindSafe(RUN.scope(Run::Task(T::NAME), work)).catch_unwind();
        let mut permanent = false;
        let ended = match tokio::time::timeout(T::TIME_LIMIT, work).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => {
                permanent = error.is::<Permanent>();
                Err(causes(error.as_ref()))
            }
            Ok(Err(panic)) => Err(format!("panic: {}", panic_message(&*panic))),
            Err(_) => Err(format!("not done within {} s", T::TIME_LIMIT.as_secs())),
        };
        let took = started.elapsed();
        let (job, task) = (ctx.job(), T::NAME);
        let attempt = *job.attempts();
        if permanent && let Err(error) = store::give_up(&shared.db, *job.id()).await {
            tracing::warn!(target: "quartet", task, %error, "giving up a task failed; it is tried again");
            permanent = false;
        }
        let last = permanent || attempt >= *job.max_attempts();
        shared.metrics.ended(task, ended.is_ok(), last, took);
        if let Err(error) = &ended {
            if last {
                tracing::error!(target: "quartet", task, attempt, error, "task failed for good; kept as a dead letter");
            } else {
                tracing::warn!(target: "quartet", task, attempt, error, "task failed");
            }
        }
        ended
    }
}
