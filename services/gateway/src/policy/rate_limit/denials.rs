//! Subjects that the store has refused, until their quota is back: their requests do not reach it.

use std::time::{Duration, Instant};

use super::{
    rule::Rule,
    subject::{CounterKey, Subject},
    table::Table,
};

/// Bounded: beyond that, the least recently refused are asked for again.
#[derive(Debug)]
pub(super) struct Denials {
    started: Instant,
    denied: Table<Denial>,
}

#[derive(Clone, Copy, Debug)]
struct Denial {
    /// A reload that changes the limit ends it.
    rule: Rule,
    until_us: u64,
}

impl Denials {
    pub(super) fn new(keys: usize) -> Self {
        Self {
            started: Instant::now(),
            denied: Table::new(keys),
        }
    }

    /// Refused requests do not count, so that nothing but time gives a quota back. Never for longer than
    /// the limit can last, whatever the store says: its clock may have been wrong.
    pub(super) fn add(&self, limit: &str, rule: Rule, subject: Subject<'_>, reset: Duration) {
        let now = self.now_us();
        let reset = reset.min(rule.longest());
        let reset = u64::try_from(reset.as_micros()).unwrap_or(u64::MAX);
        let denial = Denial {
            rule,
            until_us: now.saturating_add(reset),
        };
        let key = CounterKey::new(limit, subject);
        self.denied
            .with_or_insert(key.as_bytes(), now, || denial, |known| *known = denial);
    }

    /// Until the subject has a quota again, if it has none.
    pub(super) fn left(&self, limit: &str, rule: Rule, subject: Subject<'_>) -> Option<Duration> {
        let key = CounterKey::new(limit, subject);
        let denial = self.denied.with(key.as_bytes(), |denial| *denial)?;
        let left = denial.until_us.checked_sub(self.now_us())?;
        let is_over = left == 0 || denial.rule != rule;
        (!is_over).then(|| Duration::from_micros(left))
    }

    pub(super) fn len(&self) -> usize {
        self.denied.len()
    }

    pub(super) fn sweep(&self) {
        let now = self.now_us();
        self.denied.retain(|denial| denial.until_us > now);
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_with_a_wrong_clock_shuts_no_one_out_for_good() {
        let denials = Denials::new(64);
        let subject = Subject::ClientIp([10, 0, 0, 1].into());
        let window = Rule::Window {
            requests: 5,
            slice_ms: 3_000,
        };
        let bucket = Rule::Bucket {
            burst: 10,
            interval_us: 1_000_000,
        };
        for (rule, longest) in [(window, 63), (bucket, 10)] {
            for (reset, expected) in [(u64::MAX, longest), (2, 2)] {
                denials.add("l", rule, subject, Duration::from_secs(reset));
                let left = denials.left("l", rule, subject).unwrap();
                let expected = Duration::from_secs(expected);
                assert!(left <= expected && expected.saturating_sub(left) < Duration::from_secs(1));
            }
        }
    }
}
