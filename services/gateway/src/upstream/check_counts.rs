//! When the checks of a replica are due, and what their results mean.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::key::mix;
use crate::config::HealthCheck;

/// In permille of the interval, to both sides.
const JITTER: u64 = 100;

/// What checks have found of one replica.
#[derive(Debug, Default)]
pub(super) struct CheckCounts(Mutex<CheckState>);

#[derive(Debug, Default)]
struct CheckState {
    due: Option<Instant>,
    /// A check has not ended yet.
    runs: bool,
    count: u64,
    successes: u32,
    failures: u32,
    last_error: Option<Arc<str>>,
}

/// A change that checks have brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckChange {
    Up,
    Down,
}

impl CheckCounts {
    /// Whether a check is to be started: one at a time. The next one is due an interval later. `key`: of
    /// the replica.
    pub(super) fn take_due(&self, now: Instant, key: u64, interval: Duration) -> bool {
        let mut state = self.state();
        let due = *state
            .due
            .get_or_insert_with(|| now + first_pause(key, interval));
        // A shorter interval since a reload counts at once.
        let due = due.min(now + interval * 2);
        if now < due {
            state.due = Some(due);
            return false;
        }
        if state.runs {
            return false;
        }
        state.runs = true;
        state.count += 1;
        state.due = Some(now + jittered(mix(key ^ state.count), interval));
        true
    }

    /// A check has ended, or was given up.
    pub(super) fn ended(&self) {
        self.state().runs = false;
    }

    /// How a check has ended.
    pub(super) fn record(
        &self,
        result: Result<(), String>,
        is_down: bool,
        rules: &HealthCheck,
    ) -> Option<CheckChange> {
        let mut state = self.state();
        match result {
            Ok(()) => {
                state.failures = 0;
                state.last_error = None;
                state.successes = state.successes.saturating_add(1);
                (is_down && state.successes >= rules.healthy_after).then_some(CheckChange::Up)
            }
            Err(error) => {
                state.successes = 0;
                state.last_error = Some(error.into());
                state.failures = state.failures.saturating_add(1);
                (!is_down && state.failures >= rules.unhealthy_after).then_some(CheckChange::Down)
            }
        }
    }

    /// Why the last check failed, if it did.
    pub(super) fn last_error(&self) -> Option<Arc<str>> {
        self.state().last_error.clone()
    }

    fn state(&self) -> MutexGuard<'_, CheckState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Up to an interval.
fn first_pause(key: u64, interval: Duration) -> Duration {
    let permille = u32::try_from(mix(key) % 1_000).unwrap_or(0);
    interval * permille / 1_000
}

/// The interval, up to a tenth shorter or longer.
fn jittered(draw: u64, interval: Duration) -> Duration {
    let permille = u32::try_from(1_000 - JITTER + draw % (2 * JITTER)).unwrap_or(1_000);
    interval * permille / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HealthProbe;

    fn rules() -> HealthCheck {
        HealthCheck {
            probe: HealthProbe::Connection,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            healthy_after: 2,
            unhealthy_after: 3,
        }
    }

    #[test]
    fn a_number_of_equal_results_in_a_row_changes_the_state() {
        let counts = CheckCounts::default();
        let down = std::cell::Cell::new(false);
        let fails = || Err("refused".to_owned());
        let record = |result| {
            let change = counts.record(result, down.get(), &rules());
            if let Some(change) = change {
                down.set(change == CheckChange::Down);
            }
            change
        };
        assert_eq!(
            [record(fails()), record(fails()), record(Ok(()))],
            [None; 3]
        );
        assert_eq!([record(fails()), record(fails())], [None; 2]);
        assert_eq!(record(fails()), Some(CheckChange::Down));
        assert_eq!(counts.last_error().as_deref(), Some("refused"));
        assert_eq!(
            [record(fails()), record(Ok(())), record(fails())],
            [None; 3]
        );
        assert_eq!(record(Ok(())), None);
        assert_eq!(record(Ok(())), Some(CheckChange::Up));
        assert_eq!(counts.last_error(), None);
    }

    /// A replica that takes longer to answer than the interval would otherwise be asked more and more.
    #[test]
    fn there_is_one_check_of_a_replica_at_a_time() {
        let counts = CheckCounts::default();
        let interval = Duration::from_secs(1);
        let start = Instant::now();
        let mut seconds = 0..;
        let mut is_due = || {
            let now = start + interval * 2 * seconds.next().unwrap();
            counts.take_due(now, 0, interval)
        };
        is_due();
        assert!(is_due() && !is_due() && !is_due());
        counts.ended();
        assert!(is_due());
    }

    #[test]
    fn checks_are_due_at_their_own_times() {
        let interval = Duration::from_secs(10);
        let start = Instant::now();
        let mut times: Vec<Vec<u64>> = Vec::new();
        for key in 0..4 {
            let counts = CheckCounts::default();
            let due = (0..1_000_u64).filter(|tenth| {
                let now = start + Duration::from_millis(tenth * 100);
                let is_due = counts.take_due(now, key, interval);
                counts.ended();
                is_due
            });
            times.push(due.collect());
        }
        for due in &times {
            assert!(due[0] <= 100 && (8..=12).contains(&due.len()), "{due:?}");
            assert!(
                due.windows(2)
                    .all(|two| (89..=111).contains(&(two[1] - two[0])))
            );
        }
        assert!(times.windows(2).all(|two| two[0] != two[1]));
    }
}
