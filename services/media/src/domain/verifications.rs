//! Uploads that are being verified: once at a time each, and not too many at once.
//!
//! Verifying may take longer than a request: the store copies up to 5 GiB, and where it keeps no
//! SHA-256 the whole file is read. So it runs in a task of its own. Requests join the task of their
//! asset, and one that has waited long enough leaves and asks again later. Without the task, such a
//! file would be read from its start by every attempt and never be ready.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use quartet_common::principal::Principal;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::task::TaskTracker;

use crate::{
    error::Error,
    store::assets::{AssetId, AssetRow},
};

/// Further ones are refused: altogether, and of one owner, so that none keeps the others out.
const MAX_RUNNING: usize = 64;
const MAX_RUNNING_PER_OWNER: usize = 8;
/// Files that are read whole at the same time; further ones wait.
const MAX_WHOLE_READS: usize = 4;

type Outcome = Result<AssetRow, Arc<Error>>;

struct RunningVerification {
    owner: Principal,
    outcome: Shared<BoxFuture<'static, Outcome>>,
}

/// Clones share the tasks.
#[derive(Clone)]
pub(crate) struct Verifications(Arc<Inner>);

struct Inner {
    running: Mutex<HashMap<AssetId, RunningVerification>>,
    tasks: TaskTracker,
    whole_reads: Semaphore,
    /// How long a request waits.
    patience: Duration,
}

impl fmt::Debug for Verifications {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifications")
    }
}

impl Verifications {
    /// Shutdown waits for `tasks`.
    pub(crate) fn new(tasks: TaskTracker, patience: Duration) -> Self {
        Self(Arc::new(Inner {
            running: Mutex::default(),
            tasks,
            whole_reads: Semaphore::new(MAX_WHOLE_READS),
            patience,
        }))
    }

    /// Runs `verify` for the asset, unless that is running, and waits for its outcome.
    pub(crate) async fn join<F>(
        &self,
        id: AssetId,
        owner: Principal,
        verify: impl FnOnce() -> F,
    ) -> Result<AssetRow, Error>
    where
        F: Future<Output = Result<AssetRow, Error>> + Send + 'static,
    {
        let outcome = self.start(id, owner, verify)?;
        match tokio::time::timeout(self.0.patience, outcome).await {
            Ok(outcome) => outcome.map_err(Error::Shared),
            Err(_) => Err(Error::StillVerifying),
        }
    }

    fn start<F>(
        &self,
        id: AssetId,
        owner: Principal,
        verify: impl FnOnce() -> F,
    ) -> Result<Shared<BoxFuture<'static, Outcome>>, Error>
    where
        F: Future<Output = Result<AssetRow, Error>> + Send + 'static,
    {
        let mut running = self.running();
        if let Some(running) = running.get(&id) {
            return Ok(running.outcome.clone());
        }
        let own = running.values().filter(|other| other.owner == owner);
        if own.count() >= MAX_RUNNING_PER_OWNER || running.len() >= MAX_RUNNING {
            return Err(Error::TooBusy);
        }
        let entry = RemoveOnDrop {
            verifications: self.clone(),
            id,
        };
        let (verify, tasks) = (verify(), self.0.tasks.clone());
        let task = async move {
            let outcome = verify.await.map_err(Arc::new);
            drop(entry);
            outcome
        };
        // Spawned by the first poll, when the list is not locked.
        let outcome = async move {
            let ended = tasks.spawn(task).await;
            ended.unwrap_or_else(|_| Err(Arc::new(Error::VerificationEnded)))
        };
        let outcome = outcome.boxed().shared();
        let shared = outcome.clone();
        running.insert(id, RunningVerification { owner, outcome });
        Ok(shared)
    }

    /// Waits for the turn to read a whole file.
    pub(crate) async fn whole_read(&self) -> SemaphorePermit<'_> {
        let permit = self.0.whole_reads.acquire().await;
        permit.expect("the semaphore stays open")
    }

    fn running(&self) -> MutexGuard<'_, HashMap<AssetId, RunningVerification>> {
        self.0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the task from the list, also when it panics or is canceled.
struct RemoveOnDrop {
    verifications: Verifications,
    id: AssetId,
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        self.verifications.running().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use quartet_common::clock::Clock;

    use super::*;

    #[tokio::test]
    async fn one_owner_does_not_keep_the_others_out() {
        let verifications = Verifications::new(TaskTracker::new(), Duration::ZERO);
        let clock = Clock::system();
        let join = async |owner: &str, id: AssetId| {
            let owner = Principal::parse(owner).unwrap();
            let outcome = verifications.join(id, owner, pending).await;
            outcome.unwrap_err()
        };
        let first = AssetId::new(&clock);
        assert!(matches!(join("usr_a", first).await, Error::StillVerifying));
        for _ in 1..MAX_RUNNING_PER_OWNER {
            let error = join("usr_a", AssetId::new(&clock)).await;
            assert!(matches!(error, Error::StillVerifying), "{error:?}");
        }
        let error = join("usr_a", AssetId::new(&clock)).await;
        assert!(matches!(error, Error::TooBusy), "{error:?}");
        let error = join("usr_a", first).await;
        assert!(
            matches!(error, Error::StillVerifying),
            "waiting is free: {error:?}"
        );
        for n in MAX_RUNNING_PER_OWNER..MAX_RUNNING {
            let error = join(&format!("usr_{}", n / 8), AssetId::new(&clock)).await;
            assert!(matches!(error, Error::StillVerifying), "{error:?}");
        }
        let error = join("usr_z", AssetId::new(&clock)).await;
        assert!(matches!(error, Error::TooBusy), "{error:?}");
    }
}
