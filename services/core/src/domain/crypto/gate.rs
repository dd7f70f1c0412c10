//! The gate: attempts enter when their account is free and their network has room, both at once.
//!
//! ```text
//! waiting, in the queues of its account and its network --both have room--> inside --dropped--> left
//! ```
//!
//! Invariants:
//! - One attempt per account is inside, and `width` per network.
//! - A waiting attempt holds nothing. Otherwise an attempt whose network is busy would keep its account from
//!   the owner, and attempts on busy accounts would keep their network from its other users.
//! - After each departure, all who can enter do, the longest waiting first. So a newcomer who can
//!   enter passes no one who could.
//! - `max_waiting` wait in each queue; further ones are refused.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::error::Error;

pub(super) struct Gate {
    state: Mutex<State>,
    width: usize,
    max_waiting: usize,
}

#[derive(Default)]
struct State {
    accounts: HashMap<String, WaitQueue>,
    networks: HashMap<String, WaitQueue>,
    waiting: HashMap<u64, Waiter>,
    next_id: u64,
}

#[derive(Default)]
struct WaitQueue {
    inside: usize,
    waiting: VecDeque<u64>,
}

#[derive(Clone)]
struct AttemptKeys {
    account: Option<String>,
    network: String,
}

struct Waiter {
    keys: AttemptKeys,
    wake: oneshot::Sender<Admission>,
}

impl Gate {
    pub(super) fn new(width: usize, max_waiting: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            width,
            max_waiting,
        })
    }

    /// # Errors
    /// `TooBusy` when too many wait for the account or in the network.
    pub(super) async fn enter(
        self: &Arc<Self>,
        account: Option<&str>,
        network: &str,
    ) -> Result<Admission, Error> {
        let keys = AttemptKeys {
            account: account.map(str::to_owned),
            network: network.to_owned(),
        };
        let (id, entered) = {
            let mut state = self.lock();
            if state.has_room(&keys, self.width) {
                state.enter(&keys);
                drop(state);
                return Ok(self.entry(keys));
            }
            let (wake, entered) = oneshot::channel();
            let waiter = Waiter { keys, wake };
            (state.wait(waiter, self.max_waiting)?, entered)
        };
        let _leave = LeaveQueue { gate: self, id };
        entered.await.map_err(|_| Error::TooBusy)
    }

    fn entry(self: &Arc<Self>, keys: AttemptKeys) -> Admission {
        Admission {
            gate: Arc::clone(self),
            keys,
        }
    }

    fn leave(self: &Arc<Self>, keys: &AttemptKeys) {
        let woken = self.lock().leave(keys, self.width);
        for waiter in woken {
            // An attempt that has just left returns its admission, which is dropped.
            let _ = waiter.wake.send(self.entry(waiter.keys));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place inside, until it is dropped.
pub(super) struct Admission {
    gate: Arc<Gate>,
    keys: AttemptKeys,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.gate.leave(&self.keys);
    }
}

/// Removes a waiter that is not interested any more.
struct LeaveQueue<'a> {
    gate: &'a Gate,
    id: u64,
}

impl Drop for LeaveQueue<'_> {
    fn drop(&mut self) {
        self.gate.lock().remove(self.id);
    }
}

impl State {
    fn has_room(&self, keys: &AttemptKeys, width: usize) -> bool {
        let inside = |queue: Option<&WaitQueue>| queue.map_or(0, |queue| queue.inside);
        let account = keys.account.as_ref().map(|key| self.accounts.get(key));
        account.is_none_or(|queue| inside(queue) == 0)
            && inside(self.networks.get(&keys.network)) < width
    }

    fn enter(&mut self, keys: &AttemptKeys) {
        for queue in self.queues(keys) {
            queue.inside += 1;
        }
    }

    fn wait(&mut self, waiter: Waiter, max_waiting: usize) -> Result<u64, Error> {
        let mut queues = self.queues(&waiter.keys);
        if queues.any(|queue| queue.waiting.len() >= max_waiting) {
            drop(queues);
            self.forget_empty(&waiter.keys);
            return Err(Error::TooBusy);
        }
        drop(queues);
        let id = self.next_id;
        self.next_id += 1;
        for queue in self.queues(&waiter.keys) {
            queue.waiting.push_back(id);
        }
        self.waiting.insert(id, waiter);
        Ok(id)
    }

    /// The waiters that enter instead.
    fn leave(&mut self, keys: &AttemptKeys, width: usize) -> Vec<Waiter> {
        for queue in self.queues(keys) {
            queue.inside -= 1;
        }
        // Of those that wait for the account at most one enters; then those of the network.
        let account = keys.account.as_ref().and_then(|key| self.accounts.get(key));
        let network = self.networks.get(&keys.network);
        let waiting = account.into_iter().chain(network);
        let waiting: Vec<u64> = waiting.flat_map(|queue| queue.waiting.clone()).collect();
        let mut woken = Vec::new();
        for id in waiting {
            let Some(waiter) = self.waiting.get(&id) else {
                continue;
            };
            if self.has_room(&waiter.keys, width)
                && let Some(waiter) = self.remove(id)
            {
                self.enter(&waiter.keys);
                woken.push(waiter);
            }
        }
        self.forget_empty(keys);
        woken
    }

    fn remove(&mut self, id: u64) -> Option<Waiter> {
        let waiter = self.waiting.remove(&id)?;
        for queue in self.queues(&waiter.keys) {
            queue.waiting.retain(|other| *other != id);
        }
        self.forget_empty(&waiter.keys);
        Some(waiter)
    }

    fn queues(&mut self, keys: &AttemptKeys) -> impl Iterator<Item = &mut WaitQueue> {
        let account = keys.account.as_ref();
        let account = account.map(|key| self.accounts.entry(key.clone()).or_default());
        let network = self.networks.entry(keys.network.clone()).or_default();
        account.into_iter().chain([network])
    }

    fn forget_empty(&mut self, keys: &AttemptKeys) {
        let is_empty = |queue: &WaitQueue| queue.inside == 0 && queue.waiting.is_empty();
        if let Some(key) = &keys.account
            && self.accounts.get(key).is_some_and(is_empty)
        {
            self.accounts.remove(key);
        }
        if self.networks.get(&keys.network).is_some_and(is_empty) {
            self.networks.remove(&keys.network);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::Pin};

    use futures_util::FutureExt;

    use super::*;

    type Waiting = Pin<Box<dyn Future<Output = Result<Admission, Error>>>>;

    fn enter(gate: &Arc<Gate>, account: &str, network: &str) -> Waiting {
        let (gate, network) = (Arc::clone(gate), network.to_owned());
        let account = (!account.is_empty()).then(|| account.to_owned());
        let mut waiting: Waiting =
            Box::pin(async move { gate.enter(account.as_deref(), &network).await });
        match (&mut waiting).now_or_never() {
            Some(done) => Box::pin(std::future::ready(done)),
            None => waiting,
        }
    }

    fn entered(waiting: &mut Waiting) -> Option<Admission> {
        waiting.now_or_never().map(Result::unwrap)
    }

    /// A network that is busy with other accounts keeps none of them waiting.
    #[test]
    fn waiting_for_the_network_does_not_hold_the_account() {
        let gate = Gate::new(1, 4);
        let busy = entered(&mut enter(&gate, "other", "attacker")).unwrap();
        let mut attack = enter(&gate, "victim", "attacker");
        assert!(entered(&mut attack).is_none());
        let victim = entered(&mut enter(&gate, "victim", "home")).expect("the account is free");
        drop(busy);
        assert!(entered(&mut attack).is_none(), "the owner is inside");
        drop(victim);
        entered(&mut attack).unwrap();
        assert!(gate.lock().waiting.is_empty());
    }

    /// The reverse: attempts on a busy account keep no place of their network.
    #[test]
    fn waiting_for_the_account_does_not_hold_the_network() {
        let gate = Gate::new(1, 4);
        let busy = entered(&mut enter(&gate, "victim", "elsewhere")).unwrap();
        let mut waiting = enter(&gate, "victim", "nat");
        assert!(entered(&mut waiting).is_none());
        let neighbor = entered(&mut enter(&gate, "neighbor", "nat")).expect("the network is free");
        drop(busy);
        assert!(entered(&mut waiting).is_none(), "now the network is full");
        drop(neighbor);
        entered(&mut waiting).unwrap();
    }

    #[test]
    fn the_longest_waiting_enter_first_and_queues_are_bounded() {
        let gate = Gate::new(2, 2);
        let inside = entered(&mut enter(&gate, "a", "n1")).unwrap();
        let mut first = enter(&gate, "a", "n2");
        let mut second = enter(&gate, "a", "n3");
        let refused = enter(&gate, "a", "n4").now_or_never().unwrap();
        assert!(matches!(refused, Err(Error::TooBusy)));
        drop(inside);
        let inside = entered(&mut first).unwrap();
        assert!(entered(&mut second).is_none());
        drop(inside);
        drop(entered(&mut second).unwrap());
        let state = gate.lock();
        assert!(
            state.accounts.is_empty() && state.networks.is_empty(),
            "queues are not kept"
        );
    }

    #[test]
    fn a_waiter_that_leaves_makes_room_and_passes_its_turn_on() {
        let gate = Gate::new(1, 1);
        let inside = entered(&mut enter(&gate, "", "n")).unwrap();
        drop(enter(&gate, "", "n"));
        let left = enter(&gate, "", "n");
        drop(inside);
        // It has been let in and leaves before it notices.
        drop(left);
        entered(&mut enter(&gate, "", "n")).expect("its place is free again");
    }
}
