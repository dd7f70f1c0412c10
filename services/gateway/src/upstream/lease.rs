//! A replica on loan to one attempt of one request.
//!
//! ```text
//! admit(key) --> Lease, Permit --- report(outcome) ---> health of the replica, breaker of the upstream
//! acquire(key, tried) --> Lease
//!                           |
//!                           +------ drop ---------------> one attempt in flight less
//! ```
//!
//! The lease is dropped on every way out, so requests in flight are counted exactly however an
//! attempt ends. A lease without a report was canceled, by the client or by a shutdown, and says
//! nothing about the replica.

use std::{
    net::SocketAddr,
    ops::Deref,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use super::{
    gate::{Overload, Permit},
    key::BalanceKey,
    replicas::{Replica, Upstream},
};

/// How an attempt ended, as far as the replica is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplicaOutcome {
    /// It sent the head of a response with a status below 500.
    Responded,
    /// It sent the head of a response with another status.
    ServerError,
    /// It was silent for too long.
    TimedOut,
    /// It cannot be reached.
    ConnectFailed,
    /// It closed the connection early, or sent something that is not HTTP.
    Broken,
}

impl ReplicaOutcome {
    pub(crate) fn of_status(status: u16) -> Self {
        if status < 500 {
            Self::Responded
        } else {
            Self::ServerError
        }
    }
}

/// Counts as a request in flight until it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    upstream: Arc<Upstream>,
    replica: Arc<Replica>,
    /// When the attempt began.
    began: Instant,
}

/// Why a request is not sent to the upstream at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdmissionError {
    /// No address is known, or all replicas are drained.
    NoReplica,
    Overload(Overload),
    /// The circuit breaker is open for this much longer.
    CircuitOpen(Duration),
}

impl Upstream {
    /// A replica for the first attempt of a request, and the permit of the request if the upstream
    /// bounds their number.
    ///
    /// # Errors
    /// When the request is to be refused.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        key: BalanceKey,
        now: Instant,
    ) -> Result<(Lease, Option<Permit>), AdmissionError> {
        let Some(gate) = &self.gate else {
            return self.admit_now(key, now).map(|lease| (lease, None));
        };
        self.pass_breaker(now)?;
        if !self.has_replica() {
            return Err(AdmissionError::NoReplica);
        }
        let lease = || self.lease(key, &[], Instant::now());
        let entered = gate.enter(self.config.load, lease).await;
        let (permit, lease) = entered.map_err(AdmissionError::Overload)?;
        Ok((lease, Some(permit)))
    }

    /// The same of an upstream that does not bound its requests.
    ///
    /// # Errors
    /// When the request is to be refused.
    pub(crate) fn admit_now(
        self: &Arc<Self>,
        key: BalanceKey,
        now: Instant,
    ) -> Result<Lease, AdmissionError> {
        self.pass_breaker(now)?;
        self.lease(key, &[], now).ok_or(AdmissionError::NoReplica)
    }

    fn pass_breaker(&self, now: Instant) -> Result<(), AdmissionError> {
        match (&self.breaker, &self.config.circuit_breaker) {
            (Some(breaker), Some(rules)) => breaker
                .admit(now, rules)
                .map_err(AdmissionError::CircuitOpen),
            _ => Ok(()),
        }
    }

    /// A replica for a further attempt. `key` is that of the client; `tried` are those that this
    /// request must not be sent to again. `None`: all were tried, or no address is known.
    pub(crate) fn acquire(
        self: &Arc<Self>,
        key: BalanceKey,
        tried: &[SocketAddr],
        now: Instant,
    ) -> Option<Lease> {
        match &self.gate {
            None => self.lease(key, tried, now),
            Some(gate) => gate.alone(|| self.lease(key, tried, now)),
        }
    }

    fn lease(
        self: &Arc<Self>,
        key: BalanceKey,
        tried: &[SocketAddr],
        now: Instant,
    ) -> Option<Lease> {
        let replica = self.pick(key, tried, now)?;
        replica.enter();
        Some(Lease {
            upstream: Arc::clone(self),
            replica,
            began: now,
        })
    }

    /// Ejects a replica, unless that would leave too few.
    fn eject_outlier(&self, replica: &Replica, now: Instant) {
        let Some(rules) = &self.config.outlier_detection else {
            return;
        };
        // One at a time, so that two of them cannot both be the last one that may be ejected.
        let _alone = self
            .ejections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let replicas = self.replicas();
        let others = replicas
            .iter()
            .filter(|other| other.address != replica.address);
        let is_out = |other: &&Arc<Replica>| other.health.is_out() || other.health.is_drained();
        let out = others.filter(is_out).count();
        if out < rules.max_ejected(replicas.len()) {
            let (min, max) = (self.config.min_eject, self.config.max_eject);
            replica.health.record_failure(now, min, max);
            replica.outliers.reset();
        }
    }
}

impl Lease {
    pub(crate) fn report(&self, outcome: ReplicaOutcome, now: Instant) {
        let config = &self.upstream.config;
        let failed = outcome != ReplicaOutcome::Responded;
        if !self.replica.health.is_outdated(self.began) {
            self.report_health(outcome, failed, now);
        }
        if let (Some(breaker), Some(rules)) = (&self.upstream.breaker, &config.circuit_breaker) {
            breaker.record(failed, (self.began, now), rules);
        }
    }

    fn report_health(&self, outcome: ReplicaOutcome, failed: bool, now: Instant) {
        let config = &self.upstream.config;
        let health = &self.replica.health;
        let (min, max) = (config.min_eject, config.max_eject);
        let is_strict = config.outlier_detection.is_some();
        match outcome {
            ReplicaOutcome::ConnectFailed => health.record_failure(now, min, max),
            ReplicaOutcome::Broken => health.record_broken(now, min, max),
            // On probation for such a failure, it has not returned yet.
            ReplicaOutcome::ServerError | ReplicaOutcome::TimedOut
                if is_strict && health.is_ejected() =>
            {
                health.record_failure(now, min, max);
            }
            ReplicaOutcome::TimedOut => {}
            ReplicaOutcome::ServerError | ReplicaOutcome::Responded => {
                if health.record_success(now) {
                    health.warm(now, config.slow_start);
                    self.replica.outliers.reset();
                }
            }
        }
        if let Some(rules) = &config.outlier_detection
            && self.replica.outliers.record(failed, now, rules)
            && !health.is_ejected()
        {
            self.upstream.eject_outlier(&self.replica, now);
        }
    }
}

impl Deref for Lease {
    type Target = Replica;

    fn deref(&self) -> &Replica {
        &self.replica
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.replica.leave();
        if let Some(gate) = &self.upstream.gate {
            gate.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        config::{UpstreamConfig, model::OutlierDetection},
        upstream::HealthState,
    };

    fn outliers(max_ejected_percent: usize) -> OutlierDetection {
        OutlierDetection {
            consecutive_failures: 2,
            failure_percent: 50,
            min_requests: 4,
            window_seconds: 10,
            max_ejected_percent,
        }
    }

    fn upstream(count: u8, max_ejected_percent: usize) -> Arc<Upstream> {
        let addresses: Vec<_> = (1..=count).map(|last| format!("10.0.0.{last}")).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let mut config = UpstreamConfig::of_test(&addresses);
        config.outlier_detection = Some(outliers(max_ejected_percent));
        Arc::new(Upstream::new(config, None))
    }

    fn lease(upstream: &Arc<Upstream>, replica: usize, began: Instant) -> Lease {
        let replica = upstream.replicas()[replica].clone();
        replica.enter();
        Lease {
            upstream: Arc::clone(upstream),
            replica,
            began,
        }
    }

    fn report(upstream: &Arc<Upstream>, replica: usize, outcome: ReplicaOutcome, now: Instant) {
        lease(upstream, replica, now).report(outcome, now);
    }

    fn ejected(upstream: &Upstream) -> usize {
        let replicas = upstream.replicas();
        let ejected = replicas
            .iter()
            .filter(|replica| replica.health.is_ejected());
        ejected.count()
    }

    #[test]
    fn an_outlier_on_probation_returns_with_a_good_response_only() {
        let upstream = upstream(2, 100);
        let mut now = Instant::now();
        let outcome = |outcome, now| report(&upstream, 0, outcome, now);
        outcome(ReplicaOutcome::ServerError, now);
        outcome(ReplicaOutcome::TimedOut, now);
        assert_eq!(ejected(&upstream), 1);
        now += Duration::from_secs(2);
        outcome(ReplicaOutcome::ServerError, now);
        assert_eq!(ejected(&upstream), 1);
        outcome(ReplicaOutcome::Responded, now);
        assert_eq!(ejected(&upstream), 0);
        // What was counted before does not count again.
        outcome(ReplicaOutcome::ServerError, now);
        assert_eq!(ejected(&upstream), 0);
    }

    /// Requests that were under way when a replica was ejected: those that succeed do not end that, and
    /// those that fail do not prolong it.
    #[test]
    fn what_began_before_an_ejection_says_nothing_about_it() {
        let upstream = upstream(2, 100);
        let start = Instant::now();
        let before: Vec<Lease> = (0..4).map(|_| lease(&upstream, 0, start)).collect();
        let ejected_at = start + Duration::from_secs(1);
        for _ in 0..2 {
            report(&upstream, 0, ReplicaOutcome::ServerError, ejected_at);
        }
        let health = &upstream.replicas()[0].health;
        let left = health.state(ejected_at);
        assert!(matches!(left, HealthState::Ejected(_)), "{left:?}");
        let later = ejected_at + Duration::from_millis(50);
        before[0].report(ReplicaOutcome::Responded, later);
        assert_eq!(ejected(&upstream), 1);
        let probed = ejected_at + Duration::from_secs(5);
        for (lease, outcome) in before[1..].iter().zip([
            ReplicaOutcome::ServerError,
            ReplicaOutcome::ConnectFailed,
            ReplicaOutcome::Broken,
        ]) {
            lease.report(outcome, probed);
            assert_eq!(health.state(probed), HealthState::Probing, "{outcome:?}");
        }
        report(&upstream, 0, ReplicaOutcome::Responded, probed);
        assert_eq!(ejected(&upstream), 0);
    }

    #[test]
    fn failures_eject_no_replica_without_outlier_detection() {
        let upstream = Arc::new(Upstream::new(UpstreamConfig::of_test(&["10.0.0.1"]), None));
        let now = Instant::now();
        for _ in 0..100 {
            report(&upstream, 0, ReplicaOutcome::ServerError, now);
            report(&upstream, 0, ReplicaOutcome::TimedOut, now);
        }
        assert_eq!(ejected(&upstream), 0);
    }

    fn outcome() -> impl Strategy<Value = ReplicaOutcome> {
        prop_oneof![
            1 => Just(ReplicaOutcome::Responded),
            3 => Just(ReplicaOutcome::ServerError),
            1 => Just(ReplicaOutcome::TimedOut),
        ]
    }

    proptest! {
        #[test]
        fn outliers_are_never_all_and_never_more_than_configured(
            count in 1_u8..8,
            percent in 1_usize..=100,
            events in prop::collection::vec((any::<prop::sample::Index>(), outcome(), 0_u64..3_000), 1..200),
        ) {
            let upstream = upstream(count, percent);
            let mut now = Instant::now();
            for (replica, outcome, pause) in events {
                now += Duration::from_millis(pause);
                report(&upstream, replica.index(count.into()), outcome, now);
                let ejected = ejected(&upstream);
                prop_assert!(ejected < usize::from(count));
                prop_assert!(ejected <= outliers(percent).max_ejected(count.into()));
                prop_assert!(upstream.pick(BalanceKey::default(), &[], now).is_some());
            }
        }

        /// Whatever is known of replicas: one that may be used is found, and a drained one never is.
        #[test]
        fn a_replica_is_found_unless_all_are_drained_or_tried(
            states in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()), 1..8),
            least_loaded in any::<bool>(),
        ) {
            let mut config = UpstreamConfig::of_test(&[]);
            for (last, _) in (1_u8..).zip(&states) {
                config.targets.extend(UpstreamConfig::of_test(&[&format!("10.0.0.{last}")]).targets);
            }
            if least_loaded {
                config.balance = crate::config::Balancing::LeastLoaded;
            }
            let upstream = Upstream::new(config, None);
            let (now, long) = (Instant::now(), Duration::from_mins(10));
            let mut tried = Vec::new();
            let (mut any, mut healthy) = (false, false);
            for (replica, (drained, down, ejected, is_tried)) in upstream.replicas().iter().zip(states) {
                replica.health.set_drained(drained);
                replica.health.set_down(down);
                if ejected {
                    replica.health.record_failure(now, long, long);
                }
                if is_tried {
                    tried.push(replica.address);
                }
                any |= !drained && !is_tried;
                healthy |= !drained && !is_tried && !down && !ejected;
            }
            for _ in 0..20 {
                let picked = upstream.pick(BalanceKey::default(), &tried, now);
                prop_assert_eq!(picked.is_some(), any);
                if let Some(picked) = picked {
                    prop_assert!(!picked.health.is_drained() && !tried.contains(&picked.address));
                    prop_assert_eq!(!picked.health.is_out(), healthy);
                }
            }
        }
    }
}
