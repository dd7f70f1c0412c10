//! Counts in this process: exact per subject, bounded in memory.
//!
//! - A limit without `burst` is a [`Window`], one with it a [`Bucket`]. Neither ever allows more than
//!   `requests` in any window.
//! - A refused request does not count: a client that keeps retrying is not locked out.
//! - Memory is bounded ([`Table`]), and a sweep drops keys that are as good as new.

use std::time::Instant;

use super::{
    bucket::Bucket,
    rule::{LimitDecision, Rule},
    subject::{CounterKey, Subject},
    table::Table,
    window::Window,
};

/// What is counted, by limit and subject.
#[derive(Debug)]
pub(crate) struct LocalCounter {
    started: Instant,
    tallies: Table<Tally>,
}

/// What one subject has used of one limit.
#[derive(Debug)]
enum Tally {
    Window(Window),
    Bucket(Bucket),
}

impl LocalCounter {
    /// Keeps about `keys` tallies; beyond that the stalest are evicted.
    pub(crate) fn new(keys: usize) -> Self {
        Self {
            started: Instant::now(),
            tallies: Table::new(keys),
        }
    }

    /// Number of tallies.
    pub(crate) fn len(&self) -> usize {
        self.tallies.len()
    }

    /// Drops tallies that are as good as new.
    pub(crate) fn sweep(&self) {
        self.sweep_at(self.now_us());
    }

    fn sweep_at(&self, now: u64) {
        self.tallies.retain(|tally| !tally.is_untouched_at(now));
    }

    /// The time of a request, for all that is counted of it.
    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Counts one request, unless the limit is used up.
    pub(super) fn count(
        &self,
        limit: &str,
        rule: Rule,
        subject: Subject<'_>,
        now: u64,
    ) -> LimitDecision {
        let key = CounterKey::new(limit, subject);
        let create = || Tally::new(rule, now);
        self.tallies
            .with_or_insert(key.as_bytes(), now, create, |tally| {
                if !tally.is_of(rule) {
                    *tally = Tally::new(rule, now);
                }
                tally.count(rule, now)
            })
    }

    /// What `count` would say, with nothing counted.
    pub(super) fn look(
        &self,
        limit: &str,
        rule: Rule,
        subject: Subject<'_>,
        now: u64,
    ) -> LimitDecision {
        let key = CounterKey::new(limit, subject);
        let known = self.tallies.with(key.as_bytes(), |tally| {
            tally.is_of(rule).then(|| tally.look(rule, now))
        });
        known.flatten().unwrap_or(rule.untouched())
    }

    /// Takes back a request that was counted at `at`.
    pub(super) fn give_back(&self, limit: &str, rule: Rule, subject: Subject<'_>, at: u64) {
        let key = CounterKey::new(limit, subject);
        self.tallies.with(key.as_bytes(), |tally| {
            if tally.is_of(rule) {
                tally.give_back(rule, at);
            }
        });
    }
}

impl Tally {
    fn new(rule: Rule, now: u64) -> Self {
        match rule {
            Rule::Window { slice_ms, .. } => Self::Window(Window::new(slice_ms, now)),
            Rule::Bucket { .. } => Self::Bucket(Bucket::new(now)),
        }
    }

    /// Whether it was begun under a rule of this kind: a reload may have changed the limit.
    fn is_of(&self, rule: Rule) -> bool {
        match (self, rule) {
            (Self::Window(window), Rule::Window { slice_ms, .. }) => window.has_slices_of(slice_ms),
            (Self::Bucket(_), Rule::Bucket { .. }) => true,
            _ => false,
        }
    }

    fn count(&mut self, rule: Rule, now: u64) -> LimitDecision {
        match (self, rule) {
            (Self::Window(window), Rule::Window { requests, .. }) => window.count(requests, now),
            (Self::Bucket(bucket), Rule::Bucket { burst, interval_us }) => {
                bucket.count(burst, interval_us, now)
            }
            (_, rule) => rule.untouched(),
        }
    }

    fn look(&mut self, rule: Rule, now: u64) -> LimitDecision {
        match (self, rule) {
            (Self::Window(window), Rule::Window { requests, .. }) => window.look(requests, now),
            (Self::Bucket(bucket), Rule::Bucket { burst, interval_us }) => {
                bucket.look(burst, interval_us, now)
            }
            (_, rule) => rule.untouched(),
        }
    }

    fn give_back(&mut self, rule: Rule, at: u64) {
        match (self, rule) {
            (Self::Window(window), _) => window.give_back(at),
            (Self::Bucket(bucket), Rule::Bucket { interval_us, .. }) => {
                bucket.give_back(interval_us);
            }
            (Self::Bucket(_), Rule::Window { .. }) => {}
        }
    }

    fn is_untouched_at(&self, now: u64) -> bool {
        match self {
            Self::Window(window) => window.is_empty_at(now),
            Self::Bucket(bucket) => bucket.is_full_at(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, time::Duration};

    use super::{super::table::SHARDS, *};

    const NAME: &str = "core";
    const MS: u64 = 1_000;

    fn rule(requests: u32, seconds: u64) -> Rule {
        let window = Duration::from_secs(seconds);
        Rule::Window {
            requests,
            slice_ms: super::super::rule::slice_ms(window),
        }
    }

    fn user(name: &str) -> Subject<'_> {
        Subject::User { issuer: "", name }
    }

    /// With times in milliseconds.
    impl LocalCounter {
        fn count_at(&self, rule: Rule, subject: Subject<'_>, ms: u64) -> LimitDecision {
            self.count(NAME, rule, subject, ms * MS)
        }

        fn look_at(&self, rule: Rule, subject: Subject<'_>, ms: u64) -> LimitDecision {
            self.look(NAME, rule, subject, ms * MS)
        }

        fn give_back_at(&self, rule: Rule, subject: Subject<'_>, ms: u64) {
            self.give_back(NAME, rule, subject, ms * MS);
        }
    }

    #[test]
    fn no_window_exceeds_the_limit() {
        // A client that retries constantly, at uneven intervals; every window is checked.
        let counter = LocalCounter::new(10);
        let limit = rule(10, 6);
        let mut allowed: Vec<u64> = Vec::new();
        let mut now = 17;
        let mut step = 1;
        while now < 60_000 {
            if counter.count_at(limit, user("u"), now).allowed {
                allowed.push(now);
            }
            step = (step * 7 + 3) % 211;
            now += step;
        }
        for (first, &at) in allowed.iter().enumerate() {
            let inside = allowed[first..]
                .iter()
                .take_while(|&&t| t < at + 6_000)
                .count();
            assert!(inside <= 10, "{inside} requests from {at} ms on");
        }
        assert!(
            allowed.len() >= 85,
            "about ten every 6.3 s, not {}",
            allowed.len()
        );
    }

    #[test]
    fn reset_is_when_one_more_request_is_allowed() {
        let counter = LocalCounter::new(10);
        let limit = rule(2, 60);
        let take = |now| counter.count_at(limit, user("u"), now);
        assert_eq!(take(1_000).remaining, 1);
        assert_eq!(take(20_000).remaining, 0);
        let refused = take(30_000);
        assert!(!refused.allowed);
        let reset = u64::try_from(refused.reset.as_millis()).unwrap();
        assert!(!take(30_000 + reset - 1).allowed);
        assert!(take(30_000 + reset).allowed);
        assert!(!take(30_000 + reset).allowed);
    }

    #[test]
    fn subjects_and_limits_are_separate_and_ipv6_counts_by_64() {
        let counter = LocalCounter::new(1_000);
        let one = rule(1, 60);
        let address = |text: &str| Subject::ClientIp(text.parse().unwrap());
        let take = |limit: &str, subject| counter.count(limit, one, subject, 0).allowed;
        assert!(take("core", user("a")) && !take("core", user("a")));
        assert!(take("media", user("a")) && take("core", user("b")));
        assert!(take("core", address("192.0.2.1")) && take("core", address("192.0.2.2")));
        assert!(take("core", address("2001:db8::1")) && !take("core", address("2001:db8::2")));
        assert!(take("core", address("2001:db8:0:1::1")));
        let long = "x".repeat(300);
        assert!(take("core", user(&long)) && !take("core", user(&long)));
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let counter = LocalCounter::new(10);
        let (limit, subject) = (rule(2, 60), user("u"));
        assert_eq!(counter.look_at(limit, subject, 0).remaining, 2);
        for now in 0..5 {
            assert!(counter.count_at(limit, subject, now).allowed);
            assert_eq!(counter.look_at(limit, subject, now).remaining, 1);
            counter.give_back_at(limit, subject, now);
        }
        counter.give_back_at(limit, subject, 5);
        assert_eq!(counter.look_at(limit, subject, 5).remaining, 2);
    }

    #[test]
    fn only_the_slice_of_the_request_gets_it_back() {
        let counter = LocalCounter::new(10);
        // Slices of 3 s.
        let (limit, subject) = (rule(2, 60), user("u"));
        // One thread counts at 2,999 ms, another at 3,000 ms, then the first gives its own back.
        counter.count_at(limit, subject, 3_000);
        assert!(counter.count_at(limit, subject, 2_999).allowed);
        counter.give_back_at(limit, subject, 2_999);
        // The other one still counts while it is in the window, and no longer.
        assert_eq!(counter.look_at(limit, subject, 65_999).remaining, 1);
        assert_eq!(counter.look_at(limit, subject, 66_000).remaining, 2);
    }

    #[test]
    fn new_keys_do_not_push_out_a_busy_one() {
        let counter = LocalCounter::new(SHARDS * 32);
        let limit = rule(1_000_000, 60);
        let busy = user("busy");
        for number in 0..20_000_u32 {
            let now = u64::from(number);
            counter.count_at(limit, busy, now);
            let address = IpAddr::from(number.to_be_bytes());
            counter.count_at(limit, Subject::ClientIp(address), now);
        }
        let used = 1_000_000 - counter.count_at(limit, busy, 20_000).remaining;
        assert_eq!(used, 20_001);
    }

    #[test]
    fn memory_is_bounded_and_swept() {
        let counter = LocalCounter::new(640);
        let limit = rule(5, 1);
        for number in 0..5_000_u32 {
            let address = IpAddr::from(number.to_be_bytes());
            counter.count_at(limit, Subject::ClientIp(address), 0);
        }
        assert!(counter.len() <= 640, "{}", counter.len());
        counter.sweep_at(5_000 * MS);
        assert_eq!(counter.len(), 0);
    }
}
