//! Slots for hashing, shared out fairly among networks.
//!
//! There is a queue per network, and the queues are served in turn. When too many wait, the newest
//! waiter of the longest queue is refused in favor of a network with fewer. So one network, or a few
//! together, neither delay the others by more than one hash each nor fill the queues. As many networks
//! as there are places can: one waiter each is all they need.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::error::Error;

pub(super) struct Slots {
    state: Mutex<State>,
    max_waiting: usize,
}

struct State {
    /// None are, while someone waits.
    free: usize,
    queues: HashMap<String, VecDeque<Waiter>>,
    /// The networks that have a queue, the next one first.
    turns: VecDeque<String>,
    waiting: usize,
    next_id: u64,
}

struct Waiter {
    id: u64,
    wake: oneshot::Sender<Slot>,
}

/// The right to hash, until it is dropped.
pub(super) struct Slot(Option<Arc<Slots>>);

impl Slots {
    pub(super) fn new(count: usize, max_waiting: usize) -> Arc<Self> {
        let state = State {
            free: count,
            queues: HashMap::new(),
            turns: VecDeque::new(),
            waiting: 0,
            next_id: 0,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            max_waiting,
        })
    }

    /// # Errors
    /// `TooBusy` when too many wait, at once or as soon as a network with fewer needs the place.
    pub(super) async fn acquire(self: &Arc<Self>, network: &str) -> Result<Slot, Error> {
        let (wake, woken) = oneshot::channel();
        let id = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Slot(Some(Arc::clone(self))));
            }
            if state.waiting >= self.max_waiting {
                state.make_room(network)?;
            }
            state.push(network, wake)
        };
        let _leave = LeaveQueue {
            slots: self,
            network,
            id,
        };
        woken.await.map_err(|_| Error::TooBusy)
    }

    fn pass_on(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.lock();
                let Some(next) = state.pop() else {
                    state.free += 1;
                    return;
                };
                next
            };
            match next.wake.send(Slot(Some(Arc::clone(self)))) {
                Ok(()) => return,
                // The attempt has just left: the slot is still in hand.
                Err(mut unwanted) => unwanted.0 = None,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(slots) = self.0.take() {
            slots.pass_on();
        }
    }
}

/// Removes a waiter that is not interested any more.
struct LeaveQueue<'a> {
    slots: &'a Slots,
    network: &'a str,
    id: u64,
}

impl Drop for LeaveQueue<'_> {
    fn drop(&mut self) {
        self.slots.lock().remove(self.network, self.id);
    }
}

impl State {
    fn push(&mut self, network: &str, wake: oneshot::Sender<Slot>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.waiting += 1;
        let queue = self.queues.entry(network.to_owned()).or_insert_with(|| {
            self.turns.push_back(network.to_owned());
            VecDeque::new()
        });
        queue.push_back(Waiter { id, wake });
        id
    }

    fn pop(&mut self) -> Option<Waiter> {
        let network = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&network)?;
        let waiter = queue.pop_front()?;
        self.waiting -= 1;
        if queue.is_empty() {
            self.queues.remove(&network);
        } else {
            self.turns.push_back(network);
        }
        Some(waiter)
    }

    /// Refuses the newest waiter of the longest queue, unless that is hardly longer than the queue of
    /// `network` would be.
    fn make_room(&mut self, network: &str) -> Result<(), Error> {
        let own = self.queues.get(network).map_or(0, VecDeque::len);
        let longest = self.queues.values_mut().max_by_key(|queue| queue.len());
        let longest = longest.filter(|queue| queue.len() > own + 1);
        let refused = longest.and_then(VecDeque::pop_back);
        self.waiting -= usize::from(refused.is_some());
        refused.map(drop).ok_or(Error::TooBusy)
    }

    fn remove(&mut self, network: &str, id: u64) {
        let Some(queue) = self.queues.get_mut(network) else {
            return;
        };
        let before = queue.len();
        queue.retain(|waiter| waiter.id != id);
        self.waiting -= before - queue.len();
        if queue.is_empty() {
            self.queues.remove(network);
            self.turns.retain(|other| other != network);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::Pin};

    use futures_util::FutureExt;

    use super::*;

    type Waiting = Pin<Box<dyn Future<Output = Result<Slot, Error>>>>;

    fn acquire(slots: &Arc<Slots>, network: &'static str) -> Waiting {
        let slots = Arc::clone(slots);
        let mut waiting: Waiting = Box::pin(async move { slots.acquire(network).await });
        match (&mut waiting).now_or_never() {
            Some(done) => Box::pin(std::future::ready(done)),
            None => waiting,
        }
    }

    fn acquired(waiting: &mut Waiting) -> Option<Slot> {
        waiting.now_or_never().map(|done| done.ok().unwrap())
    }

    #[test]
    fn networks_take_turns() {
        let slots = Slots::new(1, 8);
        let busy = acquired(&mut acquire(&slots, "a")).unwrap();
        let mut flood: Vec<_> = (0..4).map(|_| acquire(&slots, "a")).collect();
        let mut other = acquire(&slots, "b");
        drop(busy);
        let first = acquired(&mut flood[0]).expect("came first");
        drop(first);
        let second = acquired(&mut other).expect("one turn later, not four");
        drop(second);
        for waiting in &mut flood[1..] {
            drop(acquired(waiting).unwrap());
        }
        let state = slots.lock();
        assert_eq!((state.free, state.waiting), (1, 0));
        assert!(state.queues.is_empty() && state.turns.is_empty());
    }

    /// Nine networks that fill the queue, and the login of someone else.
    #[test]
    fn the_longest_queue_loses_a_waiter_to_a_network_with_fewer() {
        let slots = Slots::new(1, 72);
        let _busy = acquired(&mut acquire(&slots, "n0")).unwrap();
        let networks = ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8"];
        let mut flood: Vec<_> = (0..72).map(|n| acquire(&slots, networks[n % 9])).collect();
        let mut more = acquire(&slots, "n3");
        assert!(matches!(
            more.as_mut().now_or_never(),
            Some(Err(Error::TooBusy))
        ));
        let mut victim = acquire(&slots, "home");
        assert!((&mut victim).now_or_never().is_none(), "it waits");
        let refused = flood.iter_mut().filter_map(FutureExt::now_or_never);
        assert_eq!(refused.filter(Result::is_err).count(), 1);
        assert_eq!(slots.lock().waiting, 72);
    }

    #[test]
    fn a_waiter_that_leaves_takes_no_slot_along() {
        let slots = Slots::new(1, 2);
        let busy = acquired(&mut acquire(&slots, "a")).unwrap();
        drop(acquire(&slots, "a"));
        let left = acquire(&slots, "b");
        let mut last = acquire(&slots, "c");
        drop(busy);
        // It has been woken and leaves before it notices.
        drop(left);
        drop(acquired(&mut last).unwrap());
        assert_eq!(slots.lock().free, 1);
    }
}
