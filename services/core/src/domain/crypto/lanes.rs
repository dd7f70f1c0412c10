//! Lanes: attempts with the same key enter a few at a time, in the order of their arrival.
//!
//! A lane exists while it is in use. A bounded number of attempts wait for it; further ones are refused.
//! Those that wait for one lane take no room from others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;

/// Lanes of one kind.
pub(super) struct Lanes {
    lanes: Mutex<HashMap<String, Lane>>,
    width: usize,
    max_waiting: usize,
}

struct Lane {
    semaphore: Arc<Semaphore>,
    /// Attempts inside and waiting.
    users: usize,
}

impl Lanes {
    /// Lanes that let `width` attempts in and make `max_waiting` wait.
    pub(super) fn new(width: usize, max_waiting: usize) -> Arc<Self> {
        Arc::new(Self {
            lanes: Mutex::default(),
            width,
            max_waiting,
        })
    }

    /// # Errors
    /// `TooBusy` when too many wait already.
    pub(super) async fn enter(self: &Arc<Self>, key: &str) -> Result<LanePermit, Error> {
        let (semaphore, mut permit) = self.join(key)?;
        let entered = semaphore.acquire_owned().await;
        permit.entered = Some(entered.expect("the semaphore is never closed"));
        Ok(permit)
    }

    fn join(self: &Arc<Self>, key: &str) -> Result<(Arc<Semaphore>, LanePermit), Error> {
        let mut lanes = self.lock();
        let lane = lanes.entry(key.to_owned()).or_insert_with(|| Lane {
            semaphore: Arc::new(Semaphore::new(self.width)),
            users: 0,
        });
        if lane.users >= self.width + self.max_waiting {
            return Err(Error::TooBusy);
        }
        lane.users += 1;
        let permit = LanePermit {
            lanes: Arc::clone(self),
            key: key.to_owned(),
            entered: None,
        };
        Ok((Arc::clone(&lane.semaphore), permit))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a lane, until it is dropped.
pub(super) struct LanePermit {
    lanes: Arc<Lanes>,
    key: String,
    entered: Option<OwnedSemaphorePermit>,
}

impl Drop for LanePermit {
    fn drop(&mut self) {
        drop(self.entered.take());
        let mut lanes = self.lanes.lock();
        if let Some(lane) = lanes.get_mut(&self.key) {
            lane.users -= 1;
            if lane.users == 0 {
                lanes.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_full_lane_refuses_and_others_do_not() {
        let lanes = Lanes::new(1, 1);
        let inside = lanes.enter("a").await.unwrap();
        let mut waiting = Box::pin(lanes.enter("a"));
        assert!((&mut waiting).now_or_never().is_none());
        assert!(matches!(lanes.enter("a").await, Err(Error::TooBusy)));
        let other = lanes.enter("b").await.unwrap();
        drop(inside);
        let next = waiting.await.unwrap();
        drop((next, other));
        assert!(lanes.lock().is_empty(), "lanes are not kept");
    }

    #[tokio::test]
    async fn a_waiter_that_leaves_makes_room() {
        let lanes = Lanes::new(1, 1);
        let inside = lanes.enter("a").await.unwrap();
        let mut waiting = Box::pin(lanes.enter("a"));
        assert!((&mut waiting).now_or_never().is_none());
        drop(waiting);
        let mut waiting = Box::pin(lanes.enter("a"));
        assert!((&mut waiting).now_or_never().is_none());
        drop(inside);
        waiting.await.unwrap();
    }
}
