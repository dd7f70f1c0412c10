//! Requests to the upstream that others wait for: one for each key.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use super::{entry::StoredResponse, key::Key};

/// What came of a fill.
#[derive(Clone, Debug, Default)]
pub(crate) enum FillOutcome {
    /// It has not ended, or was given up: another request may take its place.
    #[default]
    None,
    Stored(Arc<StoredResponse>),
    /// The response is not for others, so there is nothing to wait for.
    NotStored,
}

/// The fills that are under way.
#[derive(Debug, Default)]
pub(super) struct Fills(Mutex<HashMap<Key, watch::Receiver<FillOutcome>>>);

/// The right to fill one key. Dropped without an outcome, it is free again.
#[derive(Debug)]
pub(crate) struct Fill {
    fills: Arc<Fills>,
    key: Key,
    outcome: watch::Sender<FillOutcome>,
}

/// Waits for the fill of another request.
#[derive(Debug)]
pub(crate) struct Waiter(watch::Receiver<FillOutcome>);

/// Whether a request fills, or waits.
#[derive(Debug)]
pub(crate) enum Turn {
    Fill(Fill),
    Wait(Waiter),
}

impl Fills {
    pub(super) fn begin(self: &Arc<Self>, key: &Key) -> Turn {
        let mut fills = self.lock();
        if let Some(outcome) = fills.get(key) {
            return Turn::Wait(Waiter(outcome.clone()));
        }
        let (outcome, receiver) = watch::channel(FillOutcome::None);
        fills.insert(key.clone(), receiver);
        Turn::Fill(Fill {
            fills: Arc::clone(self),
            key: key.clone(),
            outcome,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, watch::Receiver<FillOutcome>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fill {
    /// Ends it for those who wait.
    pub(crate) fn end(self, outcome: FillOutcome) {
        self.outcome.send_replace(outcome);
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        self.fills.lock().remove(&self.key);
    }
}

impl Waiter {
    /// The outcome; `None` of a fill that was given up.
    pub(crate) async fn outcome(mut self) -> FillOutcome {
        let ended = self
            .0
            .wait_for(|outcome| !matches!(outcome, FillOutcome::None))
            .await;
        ended.map_or(FillOutcome::None, |outcome| outcome.clone())
    }
}
