//! When a certificate is renewed, when the authority is asked about that, and how long to wait after a
//! failure. All times come from outside.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// The longest pause between two attempts, unless the authority asks for more.
const MAX_PAUSE: Duration = Duration::from_hours(1);
/// The longest `Retry-After` that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);
/// Authorities allow few refused challenges per host and hour.
const REFUSAL_FACTOR: u32 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: DateTime<Utc>,
    pub(super) not_after: DateTime<Utc>,
}

/// When the authority suggests to renew.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Window {
    pub(super) start: DateTime<Utc>,
    pub(super) end: DateTime<Utc>,
}

impl Validity {
    fn life(self) -> TimeDelta {
        self.not_after - self.not_before
    }

    /// In the suggested window, else after two thirds of the life. `place` (0 to 1) spreads the
    /// certificates of all sites, and is the same at every gateway.
    pub(super) fn renew_at(self, window: Option<Window>, place: f64) -> DateTime<Utc> {
        let life = self.life();
        // A suggestion to let it expire, or to renew it only then, is none.
        let latest = self.not_before + life * 9 / 10;
        let (start, span) = match window.filter(|window| window.start < window.end) {
            Some(window) => (window.start, window.end - window.start),
            None => (self.not_before + life * 2 / 3, life / 20),
        };
        (start + scaled(span, place)).min(latest)
    }
}

/// Before this time, a certificate is not renewed again, whatever the authority suggests: one that suggests
/// to renew every new certificate at once would be asked for one after the other.
pub(super) fn not_again_before(issued_at: DateTime<Utc>, validity: Validity) -> DateTime<Utc> {
    issued_at + (validity.life() / 10).min(delta(MAX_PAUSE))
}

/// When the authority is asked again. `interval`: as configured; `retry_after`: as it said.
pub(super) fn ask_at(
    now: DateTime<Utc>,
    interval: Duration,
    retry_after: Option<Duration>,
) -> DateTime<Utc> {
    let longer = retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
    now + delta(interval.max(longer))
}

/// What says how long to wait after a failure.
#[derive(Clone, Copy, Debug)]
pub(super) struct FailedAttempt {
    /// In a row, this one included.
    pub(super) failures: u32,
    /// A challenge was refused.
    pub(super) is_refusal: bool,
    pub(super) retry_after: Option<Duration>,
    /// Until the certificate in use expires.
    pub(super) left: Option<Duration>,
}

impl FailedAttempt {
    /// `first`: after the first failure. `place` (0 to 1) varies it by a tenth.
    pub(super) fn pause(self, first: Duration, place: f64) -> Duration {
        let factor = if self.is_refusal { REFUSAL_FACTOR } else { 1 };
        let doublings = self.failures.saturating_sub(1).min(12);
        let mut pause = first.saturating_mul(factor).saturating_mul(1 << doublings);
        pause = pause.min(MAX_PAUSE.max(first));
        if let Some(left) = self.left {
            // A certificate of minutes is not given up for an hour.
            pause = pause.min((left / 4).max(first));
        }
        let pause = pause.mul_f64(0.9 + 0.2 * place.clamp(0.0, 1.0));
        let asked = self.retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
        pause.max(asked)
    }
}

/// A place from 0 to 1 that depends on nothing but the bytes.
pub(super) fn place_of(bytes: &[u8; 32]) -> f64 {
    let [a, b, c, d, ..] = *bytes;
    f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX)
}

/// A random place from 0 to 1.
pub(super) fn random_place() -> f64 {
    rand::random()
}

pub(super) fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

fn scaled(span: TimeDelta, place: f64) -> TimeDelta {
    let span = span.to_std().unwrap_or_default();
    delta(span.mul_f64(place.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn validity(days: i64) -> Validity {
        let not_before = at("2026-11-01T00:00:00Z");
        Validity {
            not_before,
            not_after: not_before + TimeDelta::days(days),
        }
    }

    #[test]
    fn without_a_suggestion_a_certificate_is_renewed_after_two_thirds_of_its_life() {
        for (days, place, expected) in [
            (60, 0.0, "2026-12-11T00:00:00Z"),
            (60, 1.0, "2026-12-14T00:00:00Z"),
            (6, 0.0, "2026-11-05T00:00:00Z"),
            (6, 1.0, "2026-11-05T07:12:00Z"),
        ] {
            let renewed = validity(days).renew_at(None, place);
            assert_eq!(renewed, at(expected), "{days} {place}");
        }
    }

    #[test]
    fn a_suggested_window_counts_within_the_life() {
        let window = |start: &str, end: &str| {
            Some(Window {
                start: at(start),
                end: at(end),
            })
        };
        let renewed = |window, place| validity(60).renew_at(window, place);
        let suggested = window("2026-11-10T00:00:00Z", "2026-11-12T00:00:00Z");
        assert_eq!(renewed(suggested, 0.5), at("2026-11-11T00:00:00Z"));
        // In the past: at once. It was revoked, perhaps.
        let past = window("2026-10-01T00:00:00Z", "2026-10-02T00:00:00Z");
        assert!(renewed(past, 1.0) < validity(60).not_before);
        // Behind the expiry: a tenth of the life is left.
        let late = window("2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z");
        assert_eq!(renewed(late, 0.0), at("2026-12-25T00:00:00Z"));
        // No window at all.
        let reversed = window("2026-11-12T00:00:00Z", "2026-11-10T00:00:00Z");
        assert_eq!(renewed(reversed, 0.0), at("2026-12-11T00:00:00Z"));
    }

    #[test]
    fn a_new_certificate_is_not_renewed_at_once() {
        let issued_at = at("2026-11-01T01:00:00Z");
        let again = |life| not_again_before(issued_at, life) - issued_at;
        assert_eq!(again(validity(60)), TimeDelta::hours(1));
        let not_before = validity(60).not_before;
        let short = Validity {
            not_before,
            not_after: not_before + TimeDelta::minutes(10),
        };
        assert_eq!(again(short), TimeDelta::minutes(1));
    }

    #[test]
    fn the_authority_is_asked_by_the_longer_of_both_intervals() {
        let now = at("2026-11-01T00:00:00Z");
        let minutes = |count: u64| Duration::from_mins(count);
        for (retry_after, expected) in [
            (None, 10),
            (Some(minutes(1)), 10),
            (Some(minutes(360)), 360),
            (Some(minutes(100_000)), 24 * 60),
        ] {
            let next = ask_at(now, minutes(10), retry_after);
            assert_eq!(next - now, TimeDelta::minutes(expected), "{retry_after:?}");
        }
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        let attempt = |failures| FailedAttempt {
            failures,
            is_refusal: false,
            retry_after: None,
            left: None,
        };
        let minute = Duration::from_mins(1);
        let pause = |attempt: FailedAttempt| attempt.pause(minute, 0.5).as_secs();
        let pauses = [1, 2, 3, 6, 7, 99].map(|failures| pause(attempt(failures)));
        assert_eq!(pauses, [60, 120, 240, 1_920, 3_600, 3_600]);
        let refused = FailedAttempt {
            is_refusal: true,
            ..attempt(1)
        };
        assert_eq!(pause(refused), 300);
        // What the authority asks for counts, up to a day, and no jitter shortens it.
        for (asked, expected) in [(30, 60), (7_200, 7_200), (1_000_000, 86_400)] {
            let asked_for = FailedAttempt {
                retry_after: Some(Duration::from_secs(asked)),
                ..attempt(1)
            };
            assert_eq!(pause(asked_for), expected);
        }
        // Ten minutes are left: a quarter of it.
        let short = FailedAttempt {
            left: Some(minute * 10),
            ..attempt(9)
        };
        assert_eq!(pause(short), 150);
        let last = FailedAttempt {
            left: Some(Duration::ZERO),
            ..attempt(9)
        };
        assert_eq!(pause(last), 60);
        let varied = [0.0, 1.0].map(|place| attempt(1).pause(minute, place).as_secs());
        assert_eq!(varied, [54, 66]);
    }

    #[test]
    fn places_are_spread() {
        assert!(place_of(&[0; 32]) < 1e-9);
        assert!(place_of(&[255; 32]) > 0.999);
        assert!((place_of(&[128; 32]) - 0.5).abs() < 0.01);
    }
}
