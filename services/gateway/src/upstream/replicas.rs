//! An upstream and what is known about its replicas.

use std::{
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;

use super::{
    breaker::Breaker,
    check_counts::CheckCounts,
    gate::Gate,
    health::{Health, HealthState},
    outlier::OutlierCounts,
    retry::Budget,
    tls::UpstreamTls,
};
use crate::config::{Host, UpstreamConfig, UpstreamTarget};

/// Replicas that DNS no longer mentions and whose health is remembered; more are forgotten.
const MAX_DEPARTED: usize = 64;

/// A named set of replicas.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) config: UpstreamConfig,
    pub(super) set: ArcSwap<ReplicaSet>,
    /// Counts attempts.
    turn: AtomicUsize,
    pub(crate) retry_budget: Budget,
    /// `None`: requests in flight are not limited.
    pub(crate) gate: Option<Arc<Gate>>,
    pub(crate) breaker: Option<Arc<Breaker>>,
    /// Built for the first WebSocket.
    pub(super) tls: OnceLock<UpstreamTls>,
    /// Held while an outlier is ejected.
    pub(super) ejections: Mutex<()>,
    /// One for each target, in the same order.
    lookups: Mutex<Vec<Lookup>>,
    /// Without address, and drained or not healthy when they lost it. A name whose answers change from
    /// lookup to lookup would otherwise make a replica that is down healthy again each time.
    departed: Mutex<Vec<Arc<Replica>>>,
}

/// The replicas of an upstream, in the order of their tiers.
#[derive(Debug, Default)]
pub(super) struct ReplicaSet {
    pub(super) replicas: Arc<Vec<Arc<Replica>>>,
    pub(super) tiers: Vec<Tier>,
}

/// Replicas that get requests while those of the tiers before do not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tier {
    /// Never empty.
    pub(super) members: Range<usize>,
    pub(super) weights: Vec<u32>,
    /// One round: indices of members, each as often as its weight says. Empty: each once.
    pub(super) round: Vec<usize>,
}

/// One running instance of a service.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    pub(crate) health: Health,
    pub(super) outliers: OutlierCounts,
    pub(super) checks: CheckCounts,
    in_flight: AtomicUsize,
}

impl Replica {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            health: Health::default(),
            outliers: OutlierCounts::default(),
            checks: CheckCounts::default(),
            in_flight: AtomicUsize::new(0),
        }
    }

    /// Attempts that have not ended yet.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Why its last health check failed, if it did.
    pub(crate) fn check_error(&self) -> Option<Arc<str>> {
        self.checks.last_error()
    }

    pub(super) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What DNS said about one target of an upstream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lookup {
    /// `None`: a literal address.
    pub(crate) name: Option<String>,
    /// Of the last lookup that succeeded.
    pub(crate) found: Vec<FoundAddress>,
    pub(crate) resolved_at: Option<Instant>,
    /// Why the last lookup failed, if it did.
    pub(crate) error: Option<String>,
}

/// An address that a target has led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundAddress {
    pub(crate) address: SocketAddr,
    pub(crate) weight: u32,
    /// The lower, the sooner it is used.
    pub(crate) priority: u16,
    /// The host that an SRV record names.
    pub(crate) host: Option<Arc<str>>,
}

impl Upstream {
    /// Takes over what is known from `previous`, the upstream of this name before a reload.
    pub(crate) fn new(config: UpstreamConfig, previous: Option<&Self>) -> Self {
        let known = previous.map_or_else(Vec::new, Self::lookups);
        let lookups = config
            .targets
            .iter()
            .map(|target| match &target.host {
                Host::Ip(ip) => Lookup::literal(SocketAddr::new(*ip, target.port), target.weight),
                Host::Name(name) | Host::Service(name) => Lookup::of(name, target, &known),
                Host::Kubernetes(port) => Lookup::of(&port.to_string(), target, &known),
            })
            .collect();
        let set = ReplicaSet {
            replicas: previous.map_or_else(Arc::default, Self::replicas),
            tiers: Vec::new(),
        };
        let gate = previous.and_then(|previous| previous.gate.clone());
        let breaker = previous.and_then(|previous| previous.breaker.clone());
        let upstream = Self {
            set: ArcSwap::from_pointee(set),
            turn: AtomicUsize::new(0),
            retry_budget: Budget::new(config.retry_budget_percent),
            gate: config.load.any().then(|| gate.unwrap_or_default()),
            breaker: (config.circuit_breaker.is_some()).then(|| breaker.unwrap_or_default()),
            tls: OnceLock::new(),
            ejections: Mutex::default(),
            lookups: Mutex::new(lookups),
            departed: Mutex::new(previous.map_or_else(Vec::new, |p| p.departed().clone())),
            config,
        };
        upstream.keep_marks(previous);
        upstream.publish();
        upstream
    }

    /// `None`: connections are plain.
    ///
    /// # Errors
    /// When the name or the certificates cannot be used.
    pub(crate) fn tls(&self) -> anyhow::Result<Option<UpstreamTls>> {
        let Some(settings) = &self.config.tls else {
            return Ok(None);
        };
        if let Some(known) = self.tls.get() {
            return Ok(Some(known.clone()));
        }
        let built = UpstreamTls::new(settings)?;
        Ok(Some(self.tls.get_or_init(|| built).clone()))
    }

    pub(crate) fn replicas(&self) -> Arc<Vec<Arc<Replica>>> {
        Arc::clone(&self.set.load().replicas)
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

    /// What checks have found counts for as long as there are checks.
    fn keep_marks(&self, previous: Option<&Self>) {
        let Some(previous) = previous.filter(|_| self.config.health_check.is_none()) else {
            return;
        };
        for replica in previous.replicas().iter().chain(&*previous.departed()) {
            replica.health.set_down(false);
        }
    }

    /// Stops, or starts again, sending new requests to a replica. What it has under way is not affected.
    /// `false`: there is no such replica.
    pub(crate) fn set_drained(&self, address: SocketAddr, drained: bool, now: Instant) -> bool {
        let replicas = self.replicas();
        let known = replicas.iter().find(|replica| replica.address == address);
        let Some(replica) = known else { return false };
        let was_drained = replica.health.is_drained();
        replica.health.set_drained(drained);
        if was_drained && !drained {
            replica.health.warm(now, self.config.slow_start);
        }
        if let Some(gate) = &self.gate {
            gate.wake();
        }
        true
    }

    /// Stores the result of resolving a target.
    pub(crate) fn record_lookup(&self, target: usize, result: Result<Vec<FoundAddress>, String>) {
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lookup) = lookups.get_mut(target) {
            lookup.record(result);
        }
    }

    /// Derives the replicas from the lookups; known replicas keep their health.
    pub(crate) fn publish(&self) {
        let lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        let found = weighted(&lookups);
        let tiers = tiers(&found);
        let before = self.set.load();
        let known = before.replicas.iter().map(|replica| replica.address);
        if known.eq(found.iter().map(|found| found.address)) {
            if before.tiers != tiers {
                let replicas = Arc::clone(&before.replicas);
                self.set.store(Arc::new(ReplicaSet { replicas, tiers }));
            }
            return;
        }
        let mut departed = self.departed();
        let now = Instant::now();
        let known = || before.replicas.iter().chain(&*departed);
        let find = |address| known().find(|replica| replica.address == address).cloned();
        let create = |address| {
            let replica = Replica::new(address);
            if !before.replicas.is_empty() {
                // It joins others, which are warm.
                replica.health.warm(now, self.config.slow_start);
            }
            Arc::new(replica)
        };
        let replicas = found
            .iter()
            .map(|found| find(found.address).unwrap_or_else(|| create(found.address)));
        let replicas = Arc::new(replicas.collect());
        let is_remembered = |replica: &&Arc<Replica>| {
            let state = replica.health.state(now);
            !found.iter().any(|found| found.address == replica.address)
                && !matches!(state, HealthState::Healthy | HealthState::Warming)
        };
        let mut gone: Vec<_> = known().filter(is_remembered).cloned().collect();
        // What operators have asked for is the last to be forgotten.
        gone.sort_by_key(|replica| !replica.health.is_drained());
        gone.truncate(MAX_DEPARTED);
        *departed = gone;
        self.set.store(Arc::new(ReplicaSet { replicas, tiers }));
        if let Some(gate) = &self.gate {
            gate.wake();
        }
    }
}

/// The addresses of all targets, each once, in the order of their priorities.
fn weighted(lookups: &[Lookup]) -> Vec<FoundAddress> {
    let mut found: Vec<FoundAddress> = lookups
        .iter()
        .flat_map(|lookup| lookup.found.iter().cloned())
        .collect();
    found.sort_unstable_by_key(|found| (found.address, found.priority));
    // Targets that lead to one replica: it gets the turns of all of them.
    found.dedup_by(|found, kept| {
        let same = found.address == kept.address;
        if same {
            kept.weight = kept.weight.saturating_add(found.weight);
        }
        same
    });
    found.sort_by_key(|found| found.priority);
    found
}

fn tiers(found: &[FoundAddress]) -> Vec<Tier> {
    let mut start = 0;
    let groups = found.chunk_by(|one, other| one.priority == other.priority);
    groups
        .map(|group| {
            let members = start..start + group.len();
            start = members.end;
            let weights: Vec<u32> = group.iter().map(|found| found.weight).collect();
            Tier {
                round: round(&weights),
                members,
                weights,
            }
        })
        .collect()
}

/// Spreads the turns of each replica evenly over the round. Empty: each has one.
fn round(weights: &[u32]) -> Vec<usize> {
    let most = weights.iter().copied().max().unwrap_or(0);
    if weights.iter().all(|weight| *weight == most) {
        return Vec::new();
    }
    // Each turn in the middle of its part of the round.
    let place = |turn: u32, weight: u32| (u64::from(turn) * 2 + 1) * (1 << 32) / u64::from(weight);
    let all = weights
        .iter()
        .enumerate()
        .flat_map(|(index, &weight)| (0..weight).map(move |turn| (place(turn, weight), index)));
    let mut turns: Vec<(u64, usize)> = all.collect();
    turns.sort_unstable();
    turns.into_iter().map(|(_, index)| index).collect()
}

impl Lookup {
    fn literal(address: SocketAddr, weight: u32) -> Self {
        Self {
            found: vec![FoundAddress::new(address, weight)],
            ..Self::default()
        }
    }

    /// What is known of the name of a target.
    fn of(name: &str, target: &UpstreamTarget, known: &[Self]) -> Self {
        let mut named = known.iter().filter(|it| it.name.as_deref() == Some(name));
        let unknown = || Self {
            name: Some(name.to_owned()),
            ..Self::default()
        };
        named.next().map_or_else(unknown, |it| it.adapted(target))
    }

    /// What is known of the name, with the port and the weight of a target.
    fn adapted(&self, target: &UpstreamTarget) -> Self {
        let mut adapted = self.clone();
        for found in &mut adapted.found {
            match target.host {
                Host::Name(_) => {
                    found.address.set_port(target.port);
                    found.weight = target.weight;
                }
                Host::Kubernetes(_) => found.weight = target.weight,
                Host::Ip(_) | Host::Service(_) => {}
            }
        }
        adapted
    }

    fn record(&mut self, result: Result<Vec<FoundAddress>, String>) {
        match result {
            Ok(found) => {
                self.found = found;
                self.resolved_at = Some(Instant::now());
                self.error = None;
            }
            Err(error) => self.error = Some(error),
        }
    }
}

impl FoundAddress {
    pub(crate) fn new(address: SocketAddr, weight: u32) -> Self {
        Self {
            address,
            weight,
            priority: 0,
            host: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn by_name() -> UpstreamConfig {
        let mut config = UpstreamConfig::of_test(&[]);
        config.targets.push(UpstreamTarget {
            host: Host::Name("u".to_owned()),
            port: 80,
            weight: 1,
        });
        config
    }

    fn resolve(upstream: &Upstream, last: &[u8]) -> Vec<Arc<Replica>> {
        let found = last.iter().map(|last| {
            let address = SocketAddr::from(([10, 0, 0, *last], 80));
            FoundAddress::new(address, 1)
        });
        upstream.record_lookup(0, Ok(found.collect()));
        upstream.publish();
        upstream.replicas().to_vec()
    }

    #[test]
    fn what_is_remembered_of_departed_replicas_is_bounded() {
        let second = Duration::from_secs(1);
        let upstream = Upstream::new(by_name(), None);
        let resolve = |last: u8| resolve(&upstream, &[last]).remove(0);
        for last in 0..=u8::MAX {
            let replica = resolve(last);
            assert_eq!(replica.health.state(Instant::now()), HealthState::Healthy);
            replica
                .health
                .record_failure(Instant::now(), second, second);
        }
        assert_eq!(upstream.departed().len(), MAX_DEPARTED);
        let drained = SocketAddr::from(([10, 0, 0, 100], 80));
        resolve(100);
        assert!(upstream.set_drained(drained, true, Instant::now()));
        for last in (0..=u8::MAX).filter(|last| *last != 100) {
            let now = Instant::now();
            resolve(last).health.record_failure(now, second, second);
        }
        assert!(
            resolve(100).health.is_drained(),
            "an order is not forgotten"
        );
        upstream.set_drained(drained, false, Instant::now());
        let known = |last| resolve(last).health.state(Instant::now()) != HealthState::Healthy;
        assert!(known(u8::MAX - 1));
        assert!(!known(0), "the oldest is forgotten");
        // Nothing has to be remembered of a healthy one.
        let departed = upstream.departed().len();
        resolve(1);
        assert_eq!(upstream.departed().len(), departed);
    }

    #[test]
    fn replicas_that_join_others_start_slowly() {
        let mut config = by_name();
        config.slow_start = Duration::from_mins(1);
        let upstream = Upstream::new(config, None);
        let now = Instant::now();
        let state = |replica: &Arc<Replica>| replica.health.state(now);
        let first = resolve(&upstream, &[1]);
        assert_eq!(state(&first[0]), HealthState::Healthy);
        let both = resolve(&upstream, &[1, 2]);
        assert_eq!(state(&both[0]), HealthState::Healthy);
        assert_eq!(state(&both[1]), HealthState::Warming);
    }

    #[test]
    fn drained_replicas_stay_drained_while_dns_forgets_them_and_over_a_reload() {
        let upstream = Upstream::new(by_name(), None);
        resolve(&upstream, &[1, 2]);
        let now = Instant::now();
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        assert!(upstream.set_drained(address, true, now));
        assert!(!upstream.set_drained(([10, 0, 0, 9], 80).into(), true, now));
        resolve(&upstream, &[2]);
        let mut config = by_name();
        config.retries = 5;
        let upstream = Upstream::new(config, Some(&upstream));
        let both = resolve(&upstream, &[1, 2]);
        assert_eq!(both[0].health.state(now), HealthState::Drained);
        assert!(upstream.set_drained(address, false, now));
        assert_eq!(both[0].health.state(now), HealthState::Healthy);
    }

    #[test]
    fn a_changed_port_or_weight_is_in_force_at_once() {
        let upstream = Upstream::new(by_name(), None);
        resolve(&upstream, &[1, 2]);
        let mut config = by_name();
        config.targets[0].port = 81;
        let after = Upstream::new(config, Some(&upstream));
        let ports = after
            .replicas()
            .iter()
            .map(|replica| replica.address.port())
            .collect::<Vec<_>>();
        assert_eq!(ports, [81, 81]);
    }
}
