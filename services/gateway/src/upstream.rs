//! Who answers: the replicas of an upstream, found by DNS, taken in turn, left out
//! while they cannot be reached.

pub(crate) mod balance;
pub(crate) mod discovery;
mod health;
mod retry;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;

use crate::config::{Host, UpstreamConfig};
use discovery::Lookup;
use health::Health;
use retry::Budget;

/// One upstream and everything that is known about its replicas.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) config: UpstreamConfig,
    replicas: ArcSwap<Vec<Arc<Replica>>>,
    /// Counts requests, so that replicas take turns.
    turn: AtomicUsize,
    pub(crate) budget: Budget,
    /// The last answer for each target, in the order of the targets.
    lookups: Mutex<Vec<Lookup>>,
}

/// One address that answers.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    pub(crate) health: Health,
}

impl Upstream {
    /// `before` is the same upstream under the old settings: what was learnt is kept.
    pub(crate) fn new(config: UpstreamConfig, before: Option<&Self>) -> Self {
        let known = before.map_or_else(Vec::new, Self::lookups);
        let lookups = config
            .targets
            .iter()
            .map(|target| match &target.host {
                Host::Address(address) => Lookup::literal(*address),
                Host::Name(name) => known
                    .iter()
                    .find(|lookup| lookup.name.as_deref() == Some(name))
                    .cloned()
                    .unwrap_or_else(|| Lookup::unknown(name)),
            })
            .collect();
        let upstream = Self {
            replicas: ArcSwap::new(before.map_or_else(Arc::default, |b| b.replicas.load_full())),
            turn: AtomicUsize::new(0),
            budget: Budget::new(config.retry_budget_percent),
            lookups: Mutex::new(lookups),
            config,
        };
        upstream.publish();
        upstream
    }

    pub(crate) fn replicas(&self) -> Arc<Vec<Arc<Replica>>> {
        self.replicas.load_full()
    }

    pub(crate) fn lookups(&self) -> Vec<Lookup> {
        self.lookups
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    fn note_lookup(&self, target: usize, answer: Result<Vec<std::net::IpAddr>, String>) {
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lookup) = lookups.get_mut(target) {
            lookup.note(answer);
        }
    }

    /// Makes the replicas what the last good answers say; known ones keep their health.
    fn publish(&self) {
        let lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        let mut addresses: Vec<SocketAddr> = lookups
            .iter()
            .zip(&self.config.targets)
            .flat_map(|(lookup, target)| {
                lookup
                    .addresses
                    .iter()
                    .map(|address| SocketAddr::new(*address, target.port))
            })
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        let before = self.replicas.load();
        if before
            .iter()
            .map(|replica| replica.address)
            .eq(addresses.iter().copied())
        {
            return;
        }
        let replicas = addresses
            .into_iter()
            .map(|address| {
                before
                    .iter()
                    .find(|replica| replica.address == address)
                    .cloned()
                    .unwrap_or_else(|| {
                        Arc::new(Replica {
                            address,
                            health: Health::default(),
                        })
                    })
            })
            .collect();
        self.replicas.store(Arc::new(replicas));
    }
}

/// Name of a replica's state, and how much longer it is left out.
pub(crate) fn health_state(replica: &Replica, now: std::time::Instant) -> (&'static str, u128) {
    match replica.health.state(now) {
        health::State::Well => ("well", 0),
        health::State::Out(left) => ("left_out", left.as_millis()),
        health::State::Probing => ("probing", 0),
    }
}
