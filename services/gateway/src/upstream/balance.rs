//! Chooses the replica for the next attempt: in turn, or by the key of the client.
//!
//! By key, each replica has a rank that depends on nothing but the key and its address (rendezvous
//! hashing). So all gateways choose alike without knowing of each other, and a replica that comes or
//! goes moves only the clients that it has.

use std::{
    cmp::Reverse,
    hash::{DefaultHasher, Hash, Hasher as _},
    net::SocketAddr,
    sync::Arc,
    time::Instant,
};

use super::replicas::{Replica, Upstream};
use crate::config::Balance;

/// Equal for requests that should reach the same replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BalanceKey(u64);

impl BalanceKey {
    pub(crate) fn of(value: impl Hash) -> Self {
        // Its keys are fixed, so gateways of one version agree.
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        Self(hasher.finish())
    }

    /// A replica has a chance for each time that it is in the round.
    fn rank(self, address: SocketAddr, chances: usize) -> u64 {
        let ranks = (0..chances.max(1)).map(|chance| Self::of((self.0, address, chance)).0);
        ranks.max().unwrap_or(0)
    }
}

impl Upstream {
    /// A replica that was not tried yet and is not ejected.
    ///
    /// If all of those are ejected, one of them is chosen anyway: a wrong guess about health must
    /// not make an upstream unavailable. `None`: all were tried, or no address is known.
    pub(crate) fn pick(
        &self,
        key: BalanceKey,
        tried: &[SocketAddr],
        now: Instant,
    ) -> Option<Arc<Replica>> {
        match self.config.balance {
            Balance::RoundRobin => self.pick_in_turn(tried, now),
            Balance::ClientHash => self.pick_by_key(key, tried, now),
        }
    }

    fn pick_by_key(
        &self,
        key: BalanceKey,
        tried: &[SocketAddr],
        now: Instant,
    ) -> Option<Arc<Replica>> {
        let replicas = self.replicas.load();
        let round = self.round.load();
        let chances = |index| round.iter().filter(|&&turn| turn == index).count();
        let mut ranked: Vec<(u64, &Arc<Replica>)> = replicas
            .iter()
            .enumerate()
            .filter(|(_, replica)| !tried.contains(&replica.address))
            .map(|(index, replica)| (key.rank(replica.address, chances(index)), replica))
            .collect();
        ranked.sort_unstable_by_key(|(rank, _)| Reverse(*rank));
        let healthy = ranked.iter().find(|(_, replica)| replica.health.admit(now));
        healthy
            .or(ranked.first())
            .map(|(_, replica)| Arc::clone(replica))
    }

    /// The next one, by weight.
    fn pick_in_turn(&self, tried: &[SocketAddr], now: Instant) -> Option<Arc<Replica>> {
        let replicas = self.replicas.load();
        let round = self.round.load();
        let turn = self.next_turn();
        // The round may be of other replicas for a moment; any start is right.
        let first = round
            .get(turn % round.len().max(1))
            .copied()
            .unwrap_or(turn);
        let mut fallback = None;
        for step in 0..replicas.len() {
            let replica = &replicas[(first.wrapping_add(step)) % replicas.len()];
            if tried.contains(&replica.address) {
                continue;
            }
            if replica.health.admit(now) {
                return Some(Arc::clone(replica));
            }
            fallback.get_or_insert(replica);
        }
        fallback.map(Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, net::IpAddr, time::Duration};

    use super::*;
    use crate::{
        config::{Host, UpstreamConfig, UpstreamTarget},
        upstream::{HealthState, ReplicaOutcome},
    };

    fn upstream(addresses: &[&str]) -> Upstream {
        let targets = addresses
            .iter()
            .map(|a| UpstreamTarget {
                host: Host::Ip(a.parse().unwrap()),
                port: 80,
                weight: 1,
            })
            .collect();
        Upstream::new(
            UpstreamConfig {
                name: "u".into(),
                targets,
                host: None,
                connect_timeout: Duration::from_secs(1),
                idle_timeout: Duration::from_secs(1),
                max_idle_connections: 512,
                retries: 2,
                retry_budget_percent: 20,
                min_eject: Duration::from_millis(100),
                max_eject: Duration::from_secs(1),
                balance: Balance::RoundRobin,
                tls: None,
                openapi: None,
            },
            None,
        )
    }

    fn fail(upstream: &Upstream, replica: &Replica, now: Instant) {
        replica
            .health
            .record_failure(now, upstream.config.min_eject, upstream.config.max_eject);
    }

    #[test]
    fn replicas_take_turns_and_tried_ones_are_skipped() {
        let upstream = upstream(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        let now = Instant::now();
        let three: HashSet<_> = (0..3)
            .map(|_| {
                upstream
                    .pick(BalanceKey::default(), &[], now)
                    .unwrap()
                    .address
            })
            .collect();
        assert_eq!(three.len(), 3);
        let mut tried = Vec::new();
        while let Some(replica) = upstream.pick(BalanceKey::default(), &tried, now) {
            tried.push(replica.address);
        }
        assert_eq!(tried.len(), 3);
    }

    #[test]
    fn failed_replica_is_ejected_and_then_probed_once() {
        let upstream = upstream(&["10.0.0.1", "10.0.0.2"]);
        let now = Instant::now();
        let bad = upstream.pick(BalanceKey::default(), &[], now).unwrap();
        fail(&upstream, &bad, now);
        for _ in 0..4 {
            assert_ne!(
                upstream
                    .pick(BalanceKey::default(), &[], now)
                    .unwrap()
                    .address,
                bad.address
            );
        }
        let later = now + Duration::from_millis(150);
        let picked = (0..6).filter(|_| {
            upstream
                .pick(BalanceKey::default(), &[], later)
                .unwrap()
                .address
                == bad.address
        });
        assert_eq!(picked.count(), 1, "one probe until its outcome is known");
        bad.health.record_success(later);
        let picked = (0..6).filter(|_| {
            upstream
                .pick(BalanceKey::default(), &[], later)
                .unwrap()
                .address
                == bad.address
        });
        assert_eq!(picked.count(), 3);
    }

    #[test]
    fn a_lease_counts_in_flight_until_it_is_dropped() {
        let upstream = Arc::new(upstream(&["10.0.0.1"]));
        let now = Instant::now();
        let replica = upstream.replicas()[0].clone();
        let first = upstream.acquire(BalanceKey::default(), &[], now).unwrap();
        let second = upstream.acquire(BalanceKey::default(), &[], now).unwrap();
        assert_eq!(replica.in_flight(), 2);
        first.report(ReplicaOutcome::ConnectFailed, now);
        drop(first);
        assert_eq!(replica.in_flight(), 1);
        assert_ne!(replica.health.state(now), HealthState::Healthy);
        second.report(ReplicaOutcome::Responded, now);
        drop(second);
        assert_eq!(replica.in_flight(), 0);
        assert_eq!(replica.health.state(now), HealthState::Healthy);
        // Dropped without a report: canceled, which says nothing about the replica.
        drop(upstream.acquire(BalanceKey::default(), &[], now).unwrap());
        assert_eq!(replica.health.state(now), HealthState::Healthy);
    }

    #[test]
    fn an_ejected_replica_is_chosen_if_all_are_ejected() {
        let upstream = upstream(&["10.0.0.1", "10.0.0.2"]);
        let now = Instant::now();
        for replica in upstream.replicas().iter() {
            fail(&upstream, replica, now);
        }
        assert!(upstream.pick(BalanceKey::default(), &[], now).is_some());
    }

    #[test]
    fn health_survives_a_reload_by_address() {
        let before = upstream(&["10.0.0.1", "10.0.0.2"]);
        let now = Instant::now();
        let bad = before.replicas()[0].clone();
        fail(&before, &bad, now);
        let mut config = before.config.clone();
        config.targets.push(UpstreamTarget {
            host: Host::Ip([10, 0, 0, 3].into()),
            port: 80,
            weight: 3,
        });
        let after = Upstream::new(config, Some(&before));
        assert_eq!(after.replicas().len(), 3);
        for _ in 0..6 {
            assert_ne!(
                after.pick(BalanceKey::default(), &[], now).unwrap().address,
                bad.address
            );
        }
        // Its weight is in force at once.
        bad.health.record_success(now);
        let heavy: IpAddr = [10, 0, 0, 3].into();
        let picks = (0..50).filter(|_| {
            after
                .pick(BalanceKey::default(), &[], now)
                .unwrap()
                .address
                .ip()
                == heavy
        });
        assert_eq!(picks.count(), 30);
    }

    #[test]
    fn clients_keep_their_replica() {
        let mut config = upstream(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]).config;
        config.balance = Balance::ClientHash;
        config.targets[2].weight = 2;
        let three = Upstream::new(config.clone(), None);
        config.targets.pop();
        let two = Upstream::new(config, None);
        let now = Instant::now();
        let of = |upstream: &Upstream, client: u32| {
            let key = BalanceKey::of(client);
            let first = upstream.pick(key, &[], now).unwrap().address;
            assert_eq!(upstream.pick(key, &[], now).unwrap().address, first);
            first
        };
        let heavy: SocketAddr = "10.0.0.3:80".parse().unwrap();
        let mut of_heavy = 0;
        for client in 0..4_000 {
            let before = of(&three, client);
            if before == heavy {
                of_heavy += 1;
            } else {
                assert_eq!(of(&two, client), before, "only its clients move");
            }
        }
        assert!(
            (1_800..2_200).contains(&of_heavy),
            "{of_heavy}: half of the weight"
        );
        // An ejected one is passed over, and then has its clients again.
        let key = BalanceKey::of(7);
        let own = three.pick(key, &[], now).unwrap();
        fail(&three, &own, now);
        assert_ne!(three.pick(key, &[], now).unwrap().address, own.address);
        own.health.record_success(now);
        assert_eq!(three.pick(key, &[], now).unwrap().address, own.address);
        assert_ne!(
            three.pick(key, &[own.address], now).unwrap().address,
            own.address
        );
    }
}
