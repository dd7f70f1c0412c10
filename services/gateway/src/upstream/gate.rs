//! Bounds the requests in flight of an upstream, and lets some more wait in their order.
//!
//! A request counts from its admission until it has ended, whatever the number of its attempts. Only the
//! first of those that wait may enter: it is woken when a request ends, when an attempt at a replica
//! does, and when replicas change. Requests that arrive later wait behind it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::config::LoadLimits;

/// The gate of one upstream. A reload keeps it, so that requests from before it count.
#[derive(Debug, Default)]
pub(crate) struct Gate(Mutex<GateState>);

#[derive(Debug, Default)]
struct GateState {
    in_flight: usize,
    /// By their tickets, which are in the order of their arrival. One may leave from anywhere.
    queue: BTreeMap<u64, Arc<Notify>>,
    next_ticket: u64,
}

/// A request that was admitted; it counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Gate>);

/// Why a request was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overload {
    QueueFull,
    /// It has waited for as long as it may.
    QueueTimeout,
}

impl Gate {
    /// Waits until there is room and `attempt` has a result. `attempt` runs under the lock.
    ///
    /// # Errors
    /// When too many wait already, or the wait takes too long.
    pub(crate) async fn enter<T>(
        self: &Arc<Self>,
        limits: LoadLimits,
        mut attempt: impl FnMut() -> Option<T>,
    ) -> Result<(Permit, T), Overload> {
        let waiting = {
            let mut state = self.state();
            if state.queue.is_empty()
                && let Some(entered) = self.admit(&mut state, limits, &mut attempt)
            {
                return Ok(entered);
            }
            if state.queue.len() >= limits.queue {
                return Err(Overload::QueueFull);
            }
            let (turn, ticket) = (Arc::new(Notify::new()), state.next_ticket);
            state.next_ticket += 1;
            state.queue.insert(ticket, Arc::clone(&turn));
            Waiting {
                gate: self,
                turn,
                ticket,
            }
        };
        let deadline = Instant::now() + limits.queue_timeout;
        loop {
            let turn = timeout_at(deadline, waiting.turn.notified()).await;
            let mut state = self.state();
            let first = state.queue.first_key_value().map(|(ticket, _)| *ticket);
            if first == Some(waiting.ticket)
                && let Some(entered) = self.admit(&mut state, limits, &mut attempt)
            {
                return Ok(entered);
            }
            if turn.is_err() {
                return Err(Overload::QueueTimeout);
            }
        }
    }

    fn admit<T>(
        self: &Arc<Self>,
        state: &mut GateState,
        limits: LoadLimits,
        attempt: &mut impl FnMut() -> Option<T>,
    ) -> Option<(Permit, T)> {
        if limits.upstream > 0 && state.in_flight >= limits.upstream {
            return None;
        }
        let result = attempt()?;
        state.in_flight += 1;
        Some((Permit(Arc::clone(self)), result))
    }

    /// Runs without others that choose a replica at the same time.
    pub(crate) fn alone<T>(&self, work: impl FnOnce() -> T) -> T {
        let _state = self.state();
        work()
    }

    /// There may be room for the first one that waits.
    pub(crate) fn wake(&self) {
        self.state().wake_first();
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.state().in_flight
    }

    pub(crate) fn queued(&self) -> usize {
        self.state().queue.len()
    }

    fn state(&self) -> MutexGuard<'_, GateState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.in_flight -= 1;
        state.wake_first();
    }
}

impl GateState {
    fn wake_first(&self) {
        if let Some((_, first)) = self.queue.first_key_value() {
            first.notify_one();
        }
    }
}

/// A place in the queue, until it is dropped.
struct Waiting<'g> {
    gate: &'g Gate,
    turn: Arc<Notify>,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.queue.remove(&self.ticket);
        // It may have been woken in vain, or there is room for more than one.
        state.wake_first();
    }
}

impl Overload {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
        }
    }

    /// After which it makes sense to try again: what is under way has moved on by then.
    pub(crate) fn retry_after(limits: LoadLimits) -> Duration {
        limits.queue_timeout.max(Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn limits(upstream: usize, queue: usize, queue_timeout_ms: u64) -> LoadLimits {
        LoadLimits {
            upstream,
            replica: 0,
            queue,
            queue_timeout: Duration::from_millis(queue_timeout_ms),
        }
    }

    async fn enter(gate: &Arc<Gate>, limits: LoadLimits) -> Result<Permit, Overload> {
        let entered = gate.enter(limits, || Some(())).await;
        entered.map(|(permit, ())| permit)
    }

    async fn until(condition: impl Fn() -> bool) {
        let waited = async {
            while !condition() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waited)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn those_that_wait_enter_in_their_order() {
        let gate = Arc::new(Gate::default());
        let limits = limits(1, 3, 20_000);
        let first = enter(&gate, limits).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiting: Vec<_> = (0..3)
            .map(|number| {
                let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
                async move {
                    let permit = enter(&gate, limits).await.unwrap();
                    assert_eq!(gate.in_flight(), 1);
                    order.lock().unwrap().push(number);
                    drop(permit);
                }
            })
            .collect();
        let mut tasks = Vec::new();
        for (count, task) in waiting.into_iter().enumerate() {
            tasks.push(tokio::spawn(task));
            until(|| gate.queued() == count + 1).await;
        }
        assert_eq!(enter(&gate, limits).await.unwrap_err(), Overload::QueueFull);
        drop(first);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
        assert_eq!((gate.in_flight(), gate.queued()), (0, 0));
    }

    #[tokio::test]
    async fn a_wait_ends_in_time_and_one_that_is_canceled_holds_up_no_other() {
        let gate = Arc::new(Gate::default());
        let held = enter(&gate, limits(1, 2, 1)).await.unwrap();
        let late = enter(&gate, limits(1, 2, 1)).await;
        assert_eq!(late.unwrap_err(), Overload::QueueTimeout);
        let limits = limits(1, 2, 20_000);
        let canceled = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { enter(&gate, limits).await }
        });
        until(|| gate.queued() == 1).await;
        let second = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { enter(&gate, limits).await.map(drop) }
        });
        until(|| gate.queued() == 2).await;
        canceled.abort();
        until(|| gate.queued() == 1).await;
        drop(held);
        second.await.unwrap().unwrap();
        assert_eq!((gate.in_flight(), gate.queued()), (0, 0));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_limit_holds_for_racing_requests_and_none_is_forgotten() {
        let gate = Arc::new(Gate::default());
        let limits = limits(3, 1_000, 20_000);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..300)
            .map(|_| {
                let gate = Arc::clone(&gate);
                let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                tokio::spawn(async move {
                    let permit = enter(&gate, limits).await.unwrap();
                    let count = now.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(count, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    now.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert!(most.load(Ordering::SeqCst) <= 3);
        assert_eq!((gate.in_flight(), gate.queued()), (0, 0));
    }
}
