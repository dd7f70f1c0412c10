//! Which replica takes the next attempt.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use super::{Replica, Upstream};

impl Upstream {
    /// The next replica in turn that was not tried yet and is not left out.
    ///
    /// When all of those are left out, one of them is taken all the same: a wrong guess
    /// about health must not make an upstream unreachable. `None`: all were tried, or
    /// no address is known.
    pub(crate) fn pick(&self, tried: &[SocketAddr], now: Instant) -> Option<Arc<Replica>> {
        let replicas = self.replicas.load();
        let first = self.next_turn();
        let mut last_resort = None;
        for step in 0..replicas.len() {
            let replica = &replicas[(first.wrapping_add(step)) % replicas.len()];
            if tried.contains(&replica.address) {
                continue;
            }
            if replica.health.may_be_tried(now) {
                return Some(Arc::clone(replica));
            }
            last_resort.get_or_insert(replica);
        }
        last_resort.map(Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, time::Duration};

    use super::*;
    use crate::config::{Host, Target, UpstreamConfig};

    fn upstream(addresses: &[&str]) -> Upstream {
        let targets = addresses
            .iter()
            .map(|a| Target {
                host: Host::Address(a.parse().unwrap()),
                port: 80,
            })
            .collect();
        Upstream::new(
            UpstreamConfig {
                name: "u".into(),
                targets,
                host: None,
                connect_timeout: Duration::from_secs(1),
                idle_timeout: Duration::from_secs(1),
                retries: 2,
                retry_budget_percent: 20,
                eject_min: Duration::from_millis(100),
                eject_max: Duration::from_secs(1),
                openapi: None,
            },
            None,
        )
    }

    fn fail(upstream: &Upstream, replica: &Replica, now: Instant) {
        replica
            .health
            .failed(now, upstream.config.eject_min, upstream.config.eject_max);
    }

    #[test]
    fn replicas_take_turns_and_tried_ones_are_left_out() {
        let upstream = upstream(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        let now = Instant::now();
        let three: HashSet<_> = (0..3)
            .map(|_| upstream.pick(&[], now).unwrap().address)
            .collect();
        assert_eq!(three.len(), 3);
        let mut tried = Vec::new();
        while let Some(replica) = upstream.pick(&tried, now) {
            tried.push(replica.address);
        }
        assert_eq!(tried.len(), 3);
    }

    #[test]
    fn a_failed_replica_is_left_out_for_a_while_and_then_tried_by_one() {
        let upstream = upstream(&["10.0.0.1", "10.0.0.2"]);
        let now = Instant::now();
        let bad = upstream.pick(&[], now).unwrap();
        fail(&upstream, &bad, now);
        for _ in 0..4 {
            assert_ne!(upstream.pick(&[], now).unwrap().address, bad.address);
        }
        let later = now + Duration::from_millis(150);
        let picked = (0..6).filter(|_| upstream.pick(&[], later).unwrap().address == bad.address);
        assert_eq!(picked.count(), 1, "one probe until its outcome is known");
        bad.health.answered();
        let picked = (0..6).filter(|_| upstream.pick(&[], later).unwrap().address == bad.address);
        assert_eq!(picked.count(), 3);
    }

    #[test]
    fn when_all_are_left_out_one_is_taken_all_the_same() {
        let upstream = upstream(&["10.0.0.1", "10.0.0.2"]);
        let now = Instant::now();
        for replica in upstream.replicas().iter() {
            fail(&upstream, replica, now);
        }
        assert!(upstream.pick(&[], now).is_some());
    }

    #[test]
    fn health_is_carried_over_by_address() {
        let before = upstream(&["10.0.0.1", "10.0.0.2"]);
        let now = Instant::now();
        let bad = before.replicas()[0].clone();
        fail(&before, &bad, now);
        let mut config = before.config.clone();
        config.targets.push(Target {
            host: Host::Address([10, 0, 0, 3].into()),
            port: 80,
        });
        let after = Upstream::new(config, Some(&before));
        assert_eq!(after.replicas().len(), 3);
        for _ in 0..6 {
            assert_ne!(after.pick(&[], now).unwrap().address, bad.address);
        }
    }
}
