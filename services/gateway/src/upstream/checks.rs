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
pub(crate) struct Checks(JoinSet<()>);

impl Checks {
    /// Starts the checks that are due. `done` is called with the name of the upstream and whether a check
    /// has succeeded.
    pub(crate) fn start_due(
        &mut self,
        upstreams: &[Arc<Upstream>],
        done: impl Fn(&Arc<str>, bool) + Clone + Send + 'static,
    ) {
        while self.0.try_join_next().is_some() {}
        let now = Instant::now();
        for upstream in upstreams {
            let Some(rules) = &upstream.config.health_check else {
                continue;
            };
            for replica in upstream.replicas().iter() {
                if self.0.len() >= MAX_RUNNING {
                    return;
                }
                let key = BalanceKey::of(replica.address).number();
                if replica.checks.take_due(now, key, rules.interval) {
                    let (upstream, replica) = (Arc::clone(upstream), Arc::clone(replica));
                    let done = done.clone();
                    self.0.spawn(async move {
                        let succeeded = check(&upstream, &replica).await;
                        done(&upstream.config.name, succeeded);
                    });
                }
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
