//! What a task is.

use std::{future::Future, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

/// A kind of durable job. The fields of the type are its payload.
pub trait Task: Serialize + DeserializeOwned + Send + Sync + 'static {
    const NAME: &'static str;
    /// The schedule by which jobs are added, such as `*/5 * * * *`, in UTC. One job per tick, however
    /// many workers there are, and none while the one of an earlier tick waits. Missed ticks are made
    /// up for by a worker that starts within ten minutes.
    const CRON: Option<&'static str> = None;
    /// Whether each worker adds the task when it starts, unless it waits already. For work that a
    /// restart should not delay until the next tick, and that costs little when there is none.
    const AT_START: bool = false;
    /// The pause before a retry grows exponentially, from seconds to hours.
    const MAX_ATTEMPTS: u16 = 10;
    const TIME_LIMIT: Duration = Duration::from_mins(15);

    /// What the task works with.
    type Context: Clone + Send + Sync + 'static;

    /// Does the work, which may have been done before. A failure is tried again, unless it is [`Permanent`].
    fn run(self, context: Self::Context) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// An error that no retry would change, such as an invalid payload. The job becomes a dead letter at once.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Permanent(pub anyhow::Error);
