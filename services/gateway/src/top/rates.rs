//! What two reports say about the time between them.

use std::collections::BTreeMap;

use crate::status::{Status, TrafficStatus};

/// Of one path, or of all.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates {
    /// Per second; `None`: there is only one report.
    pub(super) requests: Option<f64>,
    pub(super) server_errors: Option<f64>,
    pub(super) client_errors: Option<f64>,
    durations: Vec<u64>,
    bounds_seconds: Vec<f64>,
}

impl Rates {
    /// In the order of `now.traffic`.
    pub(super) fn of_paths(now: &Status, then: &Status) -> Vec<Self> {
        let before: BTreeMap<&str, &TrafficStatus> = then
            .traffic
            .iter()
            .map(|traffic| (traffic.path.as_str(), traffic))
            .collect();
        let nothing = TrafficStatus::default();
        let rates = now.traffic.iter().map(|traffic| {
            let before = before.get(traffic.path.as_str()).copied();
            let before = before.unwrap_or(&nothing);
            let rate = |read: fn(&TrafficStatus) -> u64| {
                per_second(read(traffic).saturating_sub(read(before)), now, then)
            };
            let durations = traffic.durations.iter().enumerate();
            let durations = durations.map(|(place, count)| {
                count.saturating_sub(before.durations.get(place).copied().unwrap_or(0))
            });
            Self {
                requests: rate(|it| it.requests),
                server_errors: rate(|it| it.server_errors),
                client_errors: rate(|it| it.client_errors),
                durations: durations.collect(),
                bounds_seconds: now.duration_bounds_seconds.clone(),
            }
        });
        rates.collect()
    }

    pub(super) fn sum(all: &[Self]) -> Self {
        let add = |read: fn(&Self) -> Option<f64>| all.iter().map(read).sum();
        let bounds = all.iter().map(|one| &one.bounds_seconds);
        let bounds_seconds = bounds.max_by_key(|bounds| bounds.len()).cloned();
        let bounds_seconds = bounds_seconds.unwrap_or_default();
        let mut durations = vec![0; bounds_seconds.len() + 1];
        for one in all {
            for (sum, count) in durations.iter_mut().zip(&one.durations) {
                *sum += count;
            }
        }
        Self {
            requests: add(|it| it.requests),
            server_errors: add(|it| it.server_errors),
            client_errors: add(|it| it.client_errors),
            durations,
            bounds_seconds,
        }
    }

    /// The duration in seconds below which this share of the requests ended, interpolated between the
    /// bounds as Prometheus does. Infinite: longer than all bounds. `None`: there were no requests.
    #[expect(
        clippy::cast_precision_loss,
        reason = "the counts of seconds fit into 53 bits"
    )]
    pub(super) fn percentile(&self, share: f64) -> Option<f64> {
        let all: u64 = self.durations.iter().sum();
        if all == 0 {
            return None;
        }
        let mut left = share * all as f64;
        let mut low = 0.0;
        for (place, &count) in self.durations.iter().enumerate() {
            let Some(&high) = self.bounds_seconds.get(place) else {
                break;
            };
            if count > 0 && left <= count as f64 {
                return Some(low + (high - low) * left / count as f64);
            }
            left -= count as f64;
            low = high;
        }
        Some(f64::INFINITY)
    }
}

/// `None`: no time has passed between the reports.
#[expect(
    clippy::cast_precision_loss,
    reason = "the counts of seconds fit into 53 bits"
)]
pub(super) fn per_second(count: u64, now: &Status, then: &Status) -> Option<f64> {
    let ms = now.uptime_ms.saturating_sub(then.uptime_ms);
    (ms > 0).then(|| count as f64 * 1_000.0 / ms as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_interpolated_between_the_bounds() {
        let rates = |durations: &[u64]| Rates {
            durations: durations.to_vec(),
            bounds_seconds: vec![0.01, 0.1, 1.0],
            ..Rates::default()
        };
        for (durations, share, expected) in [
            (&[][..], 0.5, None),
            (&[0, 0, 0, 0], 0.5, None),
            (&[10, 0, 0, 0], 0.5, Some(0.005)),
            (&[10, 0, 0, 0], 1.0, Some(0.01)),
            (&[5, 5, 0, 0], 0.5, Some(0.01)),
            (&[5, 5, 0, 0], 0.75, Some(0.055)),
            (&[0, 0, 100, 0], 0.99, Some(0.991)),
            (&[99, 0, 0, 1], 0.99, Some(0.01)),
            (&[1, 0, 0, 99], 0.5, Some(f64::INFINITY)),
        ] {
            let found = rates(durations).percentile(share);
            let is_equal = match (found, expected) {
                (Some(found), Some(expected)) if f64::is_finite(expected) => {
                    (found - expected).abs() < 1e-9
                }
                (found, expected) => found.map(f64::is_finite) == expected.map(f64::is_finite),
            };
            assert!(is_equal, "{durations:?} {share}: {found:?}");
        }
    }
}
