//! Tables of `[upstreams.*]` about replicas that fail.

use std::time::Duration;

use http::{HeaderValue, uri::Authority};

use super::checker::Checker;
use crate::config::{HealthCheck, HealthProbe, model};

const MAX_WINDOW_SECONDS: u64 = 3_600;
const MAX_COUNT: u64 = 1_000_000;

/// The outer `None`: a violation was found in `health_check`.
pub(super) fn check(
    key: &str,
    upstream: &model::Upstream,
    checker: &mut Checker,
) -> Option<Option<HealthCheck>> {
    if let Some(outliers) = &upstream.outlier_detection {
        check_outliers(&format!("{key}.outlier_detection"), outliers, checker);
    }
    if let Some(breaker) = &upstream.circuit_breaker {
        check_breaker(&format!("{key}.circuit_breaker"), breaker, checker);
    }
    let Some(check) = &upstream.health_check else {
        return Some(None);
    };
    let key = format!("{key}.health_check");
    if check.path.is_some() && upstream.http2 && !upstream.tls {
        checker.error(
            format!("{key}.path"),
            "is not possible with http2 without tls; use tcp = true",
        );
    }
    check_health_check(&key, check, checker).map(Some)
}

fn check_outliers(key: &str, outliers: &model::OutlierDetection, checker: &mut Checker) {
    checker.ranges(
        key,
        &[
            (
                "consecutive_failures",
                outliers.consecutive_failures.into(),
                0,
                MAX_COUNT,
            ),
            ("failure_percent", outliers.failure_percent.into(), 0, 100),
            ("min_requests", outliers.min_requests.into(), 1, MAX_COUNT),
            (
                "window_seconds",
                outliers.window_seconds,
                1,
                MAX_WINDOW_SECONDS,
            ),
            (
                "max_ejected_percent",
                outliers.max_ejected_percent as u64,
                1,
                100,
            ),
        ],
    );
}

fn check_breaker(key: &str, breaker: &model::CircuitBreaker, checker: &mut Checker) {
    checker.ranges(
        key,
        &[
            ("failure_percent", breaker.failure_percent.into(), 1, 100),
            ("min_requests", breaker.min_requests.into(), 1, MAX_COUNT),
            (
                "window_seconds",
                breaker.window_seconds,
                1,
                MAX_WINDOW_SECONDS,
            ),
            ("open_seconds", breaker.open_seconds, 1, MAX_WINDOW_SECONDS),
            ("probes", breaker.probes.into(), 1, 1_000),
        ],
    );
}

fn check_health_check(
    key: &str,
    check: &model::HealthCheck,
    checker: &mut Checker,
) -> Option<HealthCheck> {
    checker.ranges(
        key,
        &[
            ("interval_ms", check.interval_ms, 100, 3_600_000),
            ("timeout_ms", check.timeout_ms, 10, 60_000),
            ("healthy_after", check.healthy_after.into(), 1, 100),
            ("unhealthy_after", check.unhealthy_after.into(), 1, 100),
        ],
    );
    for (at, &status) in check.expected_status.iter().enumerate() {
        checker.range(
            &format!("{key}.expected_status[{at}]"),
            status.into(),
            200,
            599,
        );
    }
    Some(HealthCheck {
        probe: probe(key, check, checker)?,
        interval: Duration::from_millis(check.interval_ms),
        timeout: Duration::from_millis(check.timeout_ms),
        healthy_after: check.healthy_after,
        unhealthy_after: check.unhealthy_after,
    })
}

fn probe(key: &str, check: &model::HealthCheck, checker: &mut Checker) -> Option<HealthProbe> {
    let path = match (&check.path, check.tcp) {
        (Some(path), false) => path,
        (None, true) => {
            for (name, is_set) in [
                ("host", check.host.is_some()),
                ("expected_status", !check.expected_status.is_empty()),
            ] {
                if is_set {
                    checker.error(format!("{key}.{name}"), "needs path");
                }
            }
            return Some(HealthProbe::Connection);
        }
        (Some(_), true) | (None, false) => {
            checker.error(key, "must have either path or tcp = true");
            return None;
        }
    };
    let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_path {
        checker.error(
            format!("{key}.path"),
            "must be a path that starts with /, of visible ASCII characters",
        );
    }
    let host = check.host.as_deref().map(parse_authority).transpose();
    Some(HealthProbe::Request {
        path: path.as_str().into(),
        host: checker.ok(&format!("{key}.host"), host)?,
        expected: check.expected_status.clone(),
    })
}

/// A value for the `Host` header.
pub(super) fn parse_authority(text: &str) -> Result<HeaderValue, String> {
    let invalid = || "must be a host or host:port".to_owned();
    let authority: Authority = text.parse().map_err(|_| invalid())?;
    if authority.as_str().contains('@') {
        return Err(invalid());
    }
    HeaderValue::from_str(authority.as_str()).map_err(|_| invalid())
}
