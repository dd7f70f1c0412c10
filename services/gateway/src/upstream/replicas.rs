//! An upstream and what is known about its replicas.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;

use super::{
    health::{Health, HealthState},
    retry::Budget,
};
use crate::config::{Host, UpstreamConfig};

/// Replicas that DNS no longer mentions and whose health is remembered; more are forgotten.
const MAX_DEPARTED: usize = 64;

/// A named set of replicas.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) config: UpstreamConfig,
    pub(super) replicas: ArcSwap<Vec<Arc<Replica>>>,
    /// One round: indices of replicas, each as often as its weight says.
    pub(super) round: ArcSwap<Vec<usize>>,
    /// Counts attempts.
    turn: AtomicUsize,
    pub(crate) retry_budget: Budget,
    /// One for each target, in the same order.
    lookups: Mutex<Vec<Lookup>>,
    /// Without address, and not healthy when they lost it. A name whose answers change from lookup to
    /// lookup would otherwise make a replica that is down healthy again each time.
    departed: Mutex<Vec<Arc<Replica>>>,
}

/// One running instance of a service.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    pub(crate) health: Health,
    in_flight: AtomicUsize,
}

impl Replica {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            health: Health::default(),
            in_flight: AtomicUsize::new(0),
        }
    }

    /// Attempts that have not ended yet.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What DNS said about one target of an upstream.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    /// `None`: a literal address.
    pub(crate) name: Option<String>,
    /// Of the last lookup that succeeded.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) resolved_at: Option<Instant>,
    /// Why the last lookup failed, if it did.
    pub(crate) error: Option<String>,
}

impl Upstream {
    /// Takes over addresses and health from `previous`, the upstream of this name before a reload.
    pub(crate) fn new(config: UpstreamConfig, previous: Option<&Self>) -> Self {
        let known = previous.map_or_else(Vec::new, Self::lookups);
        let lookups = config
            .targets
            .iter()
            .map(|target| match &target.host {
                Host::Ip(ip) => Lookup::literal(*ip),
                Host::Name(name) => known
                    .iter()
                    .find(|lookup| lookup.name.as_deref() == Some(name))
                    .cloned()
                    .unwrap_or_else(|| Lookup::unknown(name)),
            })
            .collect();
        let upstream = Self {
            replicas: ArcSwap::new(previous.map_or_else(Arc::default, |p| p.replicas.load_full())),
            round: ArcSwap::default(),
            turn: AtomicUsize::new(0),
            retry_budget: Budget::new(config.retry_budget_percent),
            lookups: Mutex::new(lookups),
            departed: Mutex::new(previous.map_or_else(Vec::new, |p| p.departed().clone())),
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

    fn departed(&self) -> MutexGuard<'_, Vec<Arc<Replica>>> {
        self.departed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// Stores the result of resolving a target.
    pub(super) fn record_lookup(&self, target: usize, result: Result<Vec<IpAddr>, String>) {
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lookup) = lookups.get_mut(target) {
            lookup.record(result);
        }
    }

    /// Derives the replicas from the lookups; known replicas keep their health.
    pub(super) fn publish(&self) {
        let lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        let mut weighted: Vec<(SocketAddr, u32)> = lookups
            .iter()
            .zip(&self.config.targets)
            .flat_map(|(lookup, target)| {
                let addresses = lookup.addresses.iter();
                addresses.map(|address| (SocketAddr::new(*address, target.port), target.weight))
            })
            .collect();
        weighted.sort_unstable();
        // Targets that lead to one replica: it gets the turns of all of them.
        weighted.dedup_by(|(address, weight), (kept, sum)| {
            let same = address == kept;
            if same {
                *sum = sum.saturating_add(*weight);
            }
            same
        });
        let (addresses, weights): (Vec<SocketAddr>, Vec<u32>) = weighted.into_iter().unzip();
        self.round.store(Arc::new(round(&weights)));
        let before = self.replicas.load();
        if before
            .iter()
            .map(|replica| replica.address)
            .eq(addresses.iter().copied())
        {
            return;
        }
        let mut departed = self.departed();
        let known = || before.iter().chain(&*departed);
        let find = |address| known().find(|replica| replica.address == address).cloned();
        let replicas = addresses
            .iter()
            .map(|&address| find(address).unwrap_or_else(|| Arc::new(Replica::new(address))))
            .collect();
        let now = Instant::now();
        let is_remembered = |replica: &&Arc<Replica>| {
            !addresses.contains(&replica.address)
                && replica.health.state(now) != HealthState::Healthy
        };
        let gone = known().filter(is_remembered).take(MAX_DEPARTED);
        *departed = gone.cloned().collect::<Vec<_>>();
        self.replicas.store(Arc::new(replicas));
    }
}

/// Spreads the turns of a replica with a greater weight over the round.
fn round(weights: &[u32]) -> Vec<usize> {
    let most = weights.iter().copied().max().unwrap_or(0);
    let passes = if weights.iter().all(|weight| *weight == most) {
        0..1
    } else {
        0..most
    };
    let indices = |pass| {
        let with_turn = weights.iter().enumerate();
        with_turn.filter_map(move |(index, weight)| (pass < *weight).then_some(index))
    };
    passes.flat_map(indices).collect()
}

impl Lookup {
    fn literal(address: IpAddr) -> Self {
        Self {
            name: None,
            addresses: vec![address],
            resolved_at: None,
            error: None,
        }
    }

    fn unknown(name: &str) -> Self {
        let name = Some(name.to_owned());
        Self {
            name,
            addresses: Vec::new(),
            resolved_at: None,
            error: None,
        }
    }

    fn record(&mut self, result: Result<Vec<IpAddr>, String>) {
        match result {
            Ok(addresses) => {
                self.addresses = addresses;
                self.resolved_at = Some(Instant::now());
                self.error = None;
            }
            Err(error) => self.error = Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Balance, UpstreamTarget};

    #[test]
    fn what_is_remembered_of_departed_replicas_is_bounded() {
        let second = Duration::from_secs(1);
        let target = UpstreamTarget {
            host: Host::Name("u".to_owned()),
            port: 80,
            weight: 1,
        };
        let config = UpstreamConfig {
            name: "u".into(),
            targets: vec![target],
            host: None,
            connect_timeout: second,
            idle_timeout: second,
            max_idle_connections: 1,
            retries: 2,
            retry_budget_percent: 20,
            min_eject: second,
            max_eject: second,
            balance: Balance::RoundRobin,
            tls: None,
            openapi: None,
        };
        let upstream = Upstream::new(config, None);
        let resolve = |last: u8| {
            upstream.record_lookup(0, Ok(vec![[10, 0, 0, last].into()]));
            upstream.publish();
            upstream.replicas()[0].clone()
        };
        for last in 0..=u8::MAX {
            let replica = resolve(last);
            assert_eq!(replica.health.state(Instant::now()), HealthState::Healthy);
            replica
                .health
                .record_failure(Instant::now(), second, second);
        }
        assert_eq!(upstream.departed().len(), MAX_DEPARTED);
        let known = |last| resolve(last).health.state(Instant::now()) != HealthState::Healthy;
        assert!(known(u8::MAX - 1));
        assert!(!known(0), "the oldest is forgotten");
        // Nothing has to be remembered of a healthy one.
        let departed = upstream.departed().len();
        resolve(1);
        assert_eq!(upstream.departed().len(), departed);
    }
}
