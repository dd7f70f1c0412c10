//! Tables of `[upstreams.*]` about replicas that fail.

use std::time::Duration;

use quartet_common::config::empty_as_none;
use serde::Deserialize;

/// `health_check`: requests of the gateway itself.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct HealthCheck {
    /// Of a GET request.
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) path: Option<String>,
    /// A connection is enough.
    #[serde(default)]
    pub(crate) tcp: bool,
    #[serde(default = "interval_ms")]
    pub(crate) interval_ms: u64,
    #[serde(default = "timeout_ms")]
    pub(crate) timeout_ms: u64,
    #[serde(default = "healthy_after")]
    pub(crate) healthy_after: u32,
    #[serde(default = "unhealthy_after")]
    pub(crate) unhealthy_after: u32,
    /// Empty: 200 to 299.
    #[serde(default)]
    pub(crate) expected_status: Vec<u16>,
    #[serde(default, deserialize_with = "empty_as_none")]
    pub(crate) host: Option<String>,
}

/// `outlier_detection`: what responses to clients say about a replica.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutlierDetection {
    /// 0: not counted.
    #[serde(default = "consecutive_failures")]
    pub(crate) consecutive_failures: u32,
    /// 0: not counted.
    #[serde(default = "failure_percent")]
    pub(crate) failure_percent: u32,
    #[serde(default = "min_requests")]
    pub(crate) min_requests: u32,
    #[serde(default = "window_seconds")]
    pub(crate) window_seconds: u64,
    #[serde(default = "max_ejected_percent")]
    pub(crate) max_ejected_percent: usize,
}

/// `circuit_breaker`: an upstream that fails as a whole is left alone for a while.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct CircuitBreaker {
    #[serde(default = "failure_percent")]
    pub(crate) failure_percent: u32,
    #[serde(default = "min_requests")]
    pub(crate) min_requests: u32,
    #[serde(default = "window_seconds")]
    pub(crate) window_seconds: u64,
    #[serde(default = "open_seconds")]
    pub(crate) open_seconds: u64,
    #[serde(default = "probes")]
    pub(crate) probes: u32,
}

impl OutlierDetection {
    pub(crate) fn window(&self) -> Duration {
        Duration::from_secs(self.window_seconds)
    }

    /// Of this number of replicas: at least one, and never all of them.
    pub(crate) fn max_ejected(&self, replicas: usize) -> usize {
        let share = replicas * self.max_ejected_percent / 100;
        share.max(1).min(replicas.saturating_sub(1))
    }
}

impl CircuitBreaker {
    pub(crate) fn window(&self) -> Duration {
        Duration::from_secs(self.window_seconds)
    }

    pub(crate) fn open(&self) -> Duration {
        Duration::from_secs(self.open_seconds)
    }
}

fn interval_ms() -> u64 {
    5_000
}

fn timeout_ms() -> u64 {
    2_000
}

fn healthy_after() -> u32 {
    2
}

fn unhealthy_after() -> u32 {
    3
}

fn consecutive_failures() -> u32 {
    5
}

fn failure_percent() -> u32 {
    50
}

fn min_requests() -> u32 {
    20
}

fn window_seconds() -> u64 {
    10
}

fn max_ejected_percent() -> usize {
    50
}

fn open_seconds() -> u64 {
    5
}

fn probes() -> u32 {
    3
}
