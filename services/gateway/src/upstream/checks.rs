//! Active health checks: every replica of an upstream with `health_check` is asked at its interval.
//!
//! Checks of all replicas run in one loop, each at its own time: a part of the interval that depends on
//! the address comes before the first one, and each interval differs a little, so that neither the
//! replicas of an upstream nor gateways are in step. The number of checks at a time is bounded.
//!
//! A replica that was never checked gets requests: a gateway that starts must not refuse them for the
//! time of a check.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use http::{Method, header};
use tokio::task::JoinSet;

use super::{
    check_counts::CheckChange,
    client::UpstreamClient,
    key::BalanceKey,
    replicas::{Replica, Upstream},
};
use crate::config::{HealthCheck, HealthProbe};

/// Checks at a time, of all upstreams.
const MAX_RUNNING: usize = 64;
/// Between looks at which checks are due.
pub(crate) const TICK: Duration = Duration::from_millis(50);

/// Without TLS. It keeps no connections: a check has to see that the replica accepts them.
static CLIENT: LazyLock<UpstreamClient> =
    LazyLock::new(|| UpstreamClient::with_connect_timeout(Duration::from_mins(1)));

/// The checks that run.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    running: JoinSet<()>,
    /// Those of the round before.
    upstreams: Vec<Arc<Upstream>>,
    /// Where the next round begins, so that none of many replicas is left out.
    first: usize,
}

/// A check of one replica, until it is dropped.
struct RunningCheck(Arc<Replica>);

impl Drop for RunningCheck {
    fn drop(&mut self) {
        self.0.checks.ended();
    }
}

impl Checks {
    /// Starts the checks that are due. `done` is called with the name of the upstream and whether a check
    /// has succeeded. False: there is nothing to check.
    pub(crate) fn start_due(
        &mut self,
        upstreams: &[Arc<Upstream>],
        done: impl Fn(&Arc<str>, bool) + Clone + Send + 'static,
    ) -> bool {
        while self.running.try_join_next().is_some() {}
        self.follow(upstreams);
        forget_others(upstreams);
        let checked = upstreams.iter().filter_map(|upstream| {
            let rules = upstream.config.health_check.as_ref()?;
            Some((upstream, rules.interval))
        });
        let replicas: Vec<_> = checked
            .flat_map(|(upstream, interval)| {
                let replicas = upstream.replicas();
                let replicas: Vec<_> = replicas.iter().cloned().collect();
                replicas
                    .into_iter()
                    .map(move |replica| (upstream, replica, interval))
            })
            .collect();
        let (now, count) = (Instant::now(), replicas.len());
        for at in 0..count {
            let place = (self.first + at) % count;
            if self.running.len() >= MAX_RUNNING {
                self.first = place;
                break;
            }
            let (upstream, replica, interval) = &replicas[place];
            let key = BalanceKey::of(replica.address).number();
            if replica.checks.take_due(now, key, *interval) {
                let running = RunningCheck(Arc::clone(replica));
                let (upstream, done) = (Arc::clone(upstream), done.clone());
                self.running.spawn(async move {
                    let succeeded = check(&upstream, &running.0).await;
                    done(&upstream.config.name, succeeded);
                });
            }
        }
        count > 0
    }

    /// After a reload, checks by the rules before are given up.
    fn follow(&mut self, upstreams: &[Arc<Upstream>]) {
        let known = self.upstreams.iter();
        let is_same = known.len() == upstreams.len()
            && known
                .zip(upstreams)
                .all(|(one, other)| Arc::ptr_eq(one, other));
        if is_same {
            return;
        }
        self.running.abort_all();
        self.upstreams = upstreams.to_vec();
    }
}

/// Without checks, nothing is known. A check that was under way at a reload may have ended since: nothing
/// would ever end the exclusion of its replica.
fn forget_others(upstreams: &[Arc<Upstream>]) {
    let others = upstreams.iter();
    let others = others.filter(|upstream| upstream.config.health_check.is_none());
    for upstream in others {
        for replica in upstream.replicas().iter() {
            if replica.health.is_down() {
                replica.health.set_down(false);
            }
        }
    }
}

/// Checks one replica once.
async fn check(upstream: &Upstream, replica: &Replica) -> bool {
    let Some(rules) = &upstream.config.health_check else {
        return true;
    };
    let asked = tokio::time::timeout(rules.timeout, ask(upstream, replica, rules)).await;
    let result =
        asked.unwrap_or_else(|_| Err(format!("no response in {} ms", rules.timeout.as_millis())));
    let succeeded = result.is_ok();
    let error = result.as_ref().err().cloned();
    let (name, address) = (&*upstream.config.name, replica.address.to_string());
    match replica
        .checks
        .record(result, replica.health.is_down(), rules)
    {
        Some(CheckChange::Down) => {
            replica.health.set_down(true);
            tracing::warn!(target: "quartet", upstream = name, address, error,
                "health checks of a replica fail; it gets no requests while another one is left");
        }
        Some(CheckChange::Up) => {
            replica
                .health
                .warm(Instant::now(), upstream.config.slow_start);
            replica.health.set_down(false);
            tracing::info!(target: "quartet", upstream = name, address,
                "health checks of a replica succeed again");
        }
        None => {}
    }
    succeeded
}

async fn ask(upstream: &Upstream, replica: &Replica, rules: &HealthCheck) -> Result<(), String> {
    let HealthProbe::Request {
        path,
        host,
        expected,
    } = &rules.probe
    else {
        let connected = tokio::net::TcpStream::connect(replica.address).await;
        return connected.map(drop).map_err(|error| error.to_string());
    };
    let (method, host) = (Method::GET, host.as_ref().or(upstream.config.host.as_ref()));
    let request = CLIENT.request_with_host(method, upstream, replica.address, path, host);
    let request = request.map_err(|error| format!("{error:#}"))?;
    let response = request.header(header::CONNECTION, "close").send().await;
    let status = response
        .map_err(|error| format!("{:#}", anyhow::Error::from(error)))?
        .status();
    let is_expected = if expected.is_empty() {
        status.is_success()
    } else {
        expected.contains(&status.as_u16())
    };
    if is_expected {
        Ok(())
    } else {
        Err(format!("status {}", status.as_u16()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::UpstreamConfig;

    fn upstream(count: usize, check: Option<HealthCheck>) -> Arc<Upstream> {
        let addresses: Vec<String> = (0..count).map(|last| format!("127.1.0.{last}")).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let mut config = UpstreamConfig::of_test(&addresses);
        config.health_check = check;
        Arc::new(Upstream::new(config, None))
    }

    fn rules() -> HealthCheck {
        HealthCheck {
            probe: HealthProbe::Connection,
            interval: Duration::from_millis(1),
            timeout: Duration::from_mins(1),
            healthy_after: 1,
            unhealthy_after: 1,
        }
    }

    /// More replicas than checks that may run, which are all refused: each gets its turn.
    #[tokio::test]
    async fn no_replica_is_left_out() {
        let upstreams = [upstream(MAX_RUNNING * 2, Some(rules()))];
        let mut checks = Checks::default();
        let everyone = async {
            while upstreams[0]
                .replicas()
                .iter()
                .any(|it| !it.health.is_down())
            {
                assert!(checks.start_due(&upstreams, |_, _| ()));
                // All of them are due again before the first one of the next round.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), everyone).await;
        waited.expect("every replica was checked");
    }

    #[tokio::test]
    async fn what_a_late_check_finds_does_not_outlive_the_checks() {
        let mut checks = Checks::default();
        let with = [upstream(1, Some(rules()))];
        while checks.running.is_empty() {
            checks.start_due(&with, |_, _| ());
        }
        let without = [upstream(1, None)];
        // As if it had been under way at the reload.
        without[0].replicas()[0].health.set_down(true);
        assert!(!checks.start_due(&without, |_, _| ()));
        assert!(!without[0].replicas()[0].health.is_down());
        assert!(
            checks
                .running
                .join_next()
                .await
                .is_none_or(|ended| ended.is_err())
        );
    }
}
