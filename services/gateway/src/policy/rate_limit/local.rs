//! Counts in this process: exact per subject, bounded in memory.
//!
//! A window is a ring of 21 slices, each a twentieth of the window long:
//!
//! ```text
//!   expired |<------------- window -------------->|
//!           | partly |   |   |  ...  |   | newest |      a request counts in `newest`
//!           |  out   |   |   |       |   |        |      all 21 slices are summed
//!                                          now ---^
//! ```
//!
//! - The slice that the window covers only in part counts in full. So there are never more than
//!   `requests` in any window, at the price that a request is forgotten up to one slice late. With
//!   fixed windows, twice the limit would pass around each boundary; with a token bucket, twice the
//!   limit within one window.
//! - A refused request does not count: a client that keeps retrying is not locked out.
//! - Memory is bounded: a full shard evicts the stalest key of a small sample, and a sweep drops
//!   keys whose window is empty. Without the bound, one client with many addresses could exhaust it.

use std::{
    collections::HashMap,
    collections::hash_map::RandomState,
    hash::BuildHasher,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::counter::{LimitDecision, Subject};
use crate::config::Limit;

/// Slices per window; a request is forgotten up to one slice late.
const SLICES: usize = 20;
/// One more for the slice that the window covers only in part.
const SLOTS: usize = SLICES + 1;
const SHARDS: usize = 64;
/// A full shard evicts the stalest of this many keys.
const EVICTION_SAMPLE: usize = 16;

/// Windows by limit and subject, sharded over locks.
#[derive(Debug)]
pub(crate) struct LocalCounter {
    started: Instant,
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
    keys_per_shard: usize,
}

type Shard = HashMap<Box<[u8]>, Window>;

/// The requests of one subject in the slices of one window.
#[derive(Debug)]
struct Window {
    slice_ms: u64,
    /// When it counted last, for eviction.
    seen_ms: u64,
    /// Number of the newest slice.
    newest: u64,
    counts: [u32; SLOTS],
}

/// Limit and subject as bytes, on the stack if they fit.
enum CounterKey {
    Short([u8; CounterKey::SHORT], usize),
    Long(Vec<u8>),
}

impl LocalCounter {
    /// Keeps about `keys` windows; beyond that the stalest are evicted.
    pub(crate) fn new(keys: usize) -> Self {
        Self {
            started: Instant::now(),
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            keys_per_shard: keys.div_ceil(SHARDS).max(1),
        }
    }

    /// Number of windows.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Drops windows that are empty again.
    pub(crate) fn sweep(&self) {
        let now = self.now_ms();
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.retain(|_, window| !window.is_empty_at(now));
            if shard.capacity() > 4 * shard.len().max(64) {
                shard.shrink_to_fit();
            }
        }
    }

    /// The time of a request, for all that is counted of it.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes back a request that was counted at `at`, unless its slice has expired. Not the last one
    /// that counted: a request of another thread in an older slice would then expire too early.
    pub(super) fn give_back(&self, limit: &Limit, subject: Subject<'_>, at: u64) {
        let key = CounterKey::new(&limit.name, subject);
        let (mut shard, _) = self.shard(key.as_bytes());
        let window = shard.get_mut(key.as_bytes());
        if let Some(window) = window.filter(|window| window.slice_ms == slice_ms(limit)) {
            window.give_back(at);
        }
    }

    fn shard(&self, key: &[u8]) -> (MutexGuard<'_, Shard>, u64) {
        let hash = self.hasher.hash_one(key);
        let index = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        (lock(&self.shards[index]), hash)
    }

    /// What `count` would say, with nothing counted.
    pub(super) fn look(&self, limit: &Limit, subject: Subject<'_>, now: u64) -> LimitDecision {
        let key = CounterKey::new(&limit.name, subject);
        let (mut shard, _) = self.shard(key.as_bytes());
        let window = shard.get_mut(key.as_bytes());
        match window.filter(|window| window.slice_ms == slice_ms(limit)) {
            Some(window) => window.look(limit.requests, now),
            None => LimitDecision {
                allowed: limit.requests > 0,
                remaining: limit.requests,
                reset: Duration::ZERO,
            },
        }
    }

    /// Counts one request, unless the limit is used up.
    pub(super) fn count(&self, limit: &Limit, subject: Subject<'_>, now: u64) -> LimitDecision {
        let key = CounterKey::new(&limit.name, subject);
        let key = key.as_bytes();
        let (mut shard, hash) = self.shard(key);
        let slice_ms = slice_ms(limit);
        if let Some(window) = shard.get_mut(key) {
            if window.slice_ms != slice_ms {
                *window = Window::new(slice_ms, now);
            }
            return window.count(limit.requests, now);
        }
        if shard.len() >= self.keys_per_shard {
            evict(&mut shard, hash, now);
        }
        let window = shard
            .entry(key.into())
            .or_insert_with(|| Window::new(slice_ms, now));
        window.count(limit.requests, now)
    }
}

impl Window {
    fn new(slice_ms: u64, now: u64) -> Self {
        Self {
            slice_ms,
            seen_ms: now,
            newest: now / slice_ms,
            counts: [0; SLOTS],
        }
    }

    fn count(&mut self, limit: u32, now: u64) -> LimitDecision {
        self.seen_ms = now;
        let before = self.look(limit, now);
        if !before.allowed {
            return before;
        }
        if let Some(counted) = self.slice_of(now) {
            *counted += 1;
        }
        LimitDecision {
            remaining: before.remaining.saturating_sub(1),
            reset: self.reset(now),
            ..before
        }
    }

    fn look(&mut self, limit: u32, now: u64) -> LimitDecision {
        self.advance(now);
        let used: u64 = self.counts.iter().map(|&count| u64::from(count)).sum();
        let remaining = u32::try_from(u64::from(limit).saturating_sub(used)).unwrap_or(0);
        LimitDecision {
            allowed: remaining > 0,
            remaining,
            reset: self.reset(now),
        }
    }

    fn give_back(&mut self, at: u64) {
        if let Some(counted) = self.slice_of(at) {
            // Less was counted if the window was evicted in between.
            *counted = counted.saturating_sub(1);
        }
    }

    /// The count of the slice of this time, unless it has expired. It need not be the newest: another
    /// thread may have read the clock later and counted first.
    fn slice_of(&mut self, at: u64) -> Option<&mut u32> {
        let slice = at / self.slice_ms;
        let is_kept = slice <= self.newest && self.newest - slice <= SLICES as u64;
        is_kept.then(|| &mut self.counts[slot(slice)])
    }

    /// Clears the slots of the slices that have expired. Time is monotonic.
    fn advance(&mut self, now: u64) {
        let slice = now / self.slice_ms;
        let passed = slice.saturating_sub(self.newest);
        for step in 0..passed.min(SLOTS as u64) {
            self.counts[slot(slice - step)] = 0;
        }
        self.newest = self.newest.max(slice);
    }

    /// Until the oldest counted slice leaves the window.
    fn reset(&self, now: u64) -> Duration {
        let oldest_possible = self.newest.saturating_sub(SLICES as u64);
        let oldest = (oldest_possible..=self.newest)
            .find(|&slice| self.counts[slot(slice)] > 0)
            .unwrap_or(self.newest);
        let leaves = (oldest + SLOTS as u64) * self.slice_ms;
        Duration::from_millis(leaves.saturating_sub(now))
    }

    fn is_empty_at(&self, now: u64) -> bool {
        now / self.slice_ms > self.newest + SLICES as u64
    }

    fn age_ms(&self, now: u64) -> u64 {
        now.saturating_sub(self.seen_ms)
    }
}

impl CounterKey {
    const SHORT: usize = 96;

    fn new(limit: &str, subject: Subject<'_>) -> Self {
        match subject {
            Subject::User(name) => Self::join(limit, b'u', name.as_bytes()),
            Subject::ClientIp(IpAddr::V4(address)) => Self::join(limit, b'4', &address.octets()),
            Subject::ClientIp(IpAddr::V6(address)) => {
                Self::join(limit, b'6', &address.octets()[..8])
            }
            Subject::Site(address) => Self::join(limit, b's', &address.octets()[..6]),
        }
    }

    fn join(limit: &str, kind: u8, subject: &[u8]) -> Self {
        let parts = [limit.as_bytes(), &[0, kind], subject];
        let length = parts.iter().map(|part| part.len()).sum();
        if length > Self::SHORT {
            return Self::Long(parts.concat());
        }
        let mut bytes = [0; Self::SHORT];
        let mut at = 0;
        for part in parts {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        Self::Short(bytes, length)
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short(bytes, length) => &bytes[..*length],
            Self::Long(bytes) => bytes,
        }
    }
}

fn slice_ms(limit: &Limit) -> u64 {
    let window = u64::try_from(limit.window.as_millis()).unwrap_or(u64::MAX);
    window.div_ceil(SLICES as u64).max(1)
}

fn slot(slice: u64) -> usize {
    usize::try_from(slice % SLOTS as u64).unwrap_or(0)
}

/// The sample begins anywhere, by the hash of the new key: with the same keys every time, a flood of
/// new ones would only push out each other, or always the same others.
fn evict(shard: &mut Shard, hash: u64, now: u64) {
    let starts = shard.len().saturating_sub(EVICTION_SAMPLE) as u64 + 1;
    // The lowest bits have chosen the shard.
    let start = usize::try_from((hash / SHARDS as u64) % starts).unwrap_or(0);
    let stalest = shard
        .iter()
        .skip(start)
        .take(EVICTION_SAMPLE)
        .max_by_key(|(_, window)| window.age_ms(now))
        .map(|(key, _)| key.clone());
    if let Some(key) = stalest {
        shard.remove(&key);
    }
}

fn lock(shard: &Mutex<Shard>) -> std::sync::MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(requests: u32, seconds: u64) -> Limit {
        Limit {
            name: "core".into(),
            requests,
            window: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn no_window_exceeds_the_limit() {
        // A client that retries constantly, at uneven intervals; every window is checked.
        let counter = LocalCounter::new(10);
        let limit = limit(10, 6);
        let mut allowed: Vec<u64> = Vec::new();
        let mut now = 17;
        let mut step = 1;
        while now < 60_000 {
            if counter.count(&limit, Subject::User("u"), now).allowed {
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
        let limit = limit(2, 60);
        let take = |now| counter.count(&limit, Subject::User("u"), now);
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
        let one = limit(1, 60);
        let other = Limit {
            name: "media".into(),
            ..one.clone()
        };
        let address = |text: &str| Subject::ClientIp(text.parse().unwrap());
        let take = |limit: &Limit, subject| counter.count(limit, subject, 0).allowed;
        assert!(take(&one, Subject::User("a")) && !take(&one, Subject::User("a")));
        assert!(take(&other, Subject::User("a")) && take(&one, Subject::User("b")));
        assert!(take(&one, address("192.0.2.1")) && take(&one, address("192.0.2.2")));
        assert!(take(&one, address("2001:db8::1")) && !take(&one, address("2001:db8::2")));
        assert!(take(&one, address("2001:db8:0:1::1")));
        let long = "x".repeat(300);
        assert!(take(&one, Subject::User(&long)) && !take(&one, Subject::User(&long)));
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let counter = LocalCounter::new(10);
        let (limit, subject) = (limit(2, 60), Subject::User("u"));
        assert_eq!(counter.look(&limit, subject, 0).remaining, 2);
        for now in 0..5 {
            assert!(counter.count(&limit, subject, now).allowed);
            assert_eq!(counter.look(&limit, subject, now).remaining, 1);
            counter.give_back(&limit, subject, now);
        }
        counter.give_back(&limit, subject, 5);
        assert_eq!(counter.look(&limit, subject, 5).remaining, 2);
    }

    #[test]
    fn only_the_slice_of_the_request_gets_it_back() {
        let counter = LocalCounter::new(10);
        // Slices of 3 s.
        let (limit, subject) = (limit(2, 60), Subject::User("u"));
        // One thread counts at 2,999 ms, another at 3,000 ms, then the first gives its own back.
        counter.count(&limit, subject, 3_000);
        assert!(counter.count(&limit, subject, 2_999).allowed);
        counter.give_back(&limit, subject, 2_999);
        // The other one still counts while it is in the window, and no longer.
        assert_eq!(counter.look(&limit, subject, 65_999).remaining, 1);
        assert_eq!(counter.look(&limit, subject, 66_000).remaining, 2);
    }

    #[test]
    fn new_keys_do_not_push_out_a_busy_one() {
        let counter = LocalCounter::new(SHARDS * 32);
        let limit = limit(1_000_000, 60);
        let busy = Subject::User("busy");
        for number in 0..20_000_u32 {
            let now = u64::from(number);
            counter.count(&limit, busy, now);
            let address = IpAddr::from(number.to_be_bytes());
            counter.count(&limit, Subject::ClientIp(address), now);
        }
        let used = 1_000_000 - counter.count(&limit, busy, 20_000).remaining;
        assert_eq!(used, 20_001);
    }

    #[test]
    fn memory_is_bounded_and_swept() {
        let counter = LocalCounter::new(640);
        let limit = limit(5, 1);
        for number in 0..5_000_u32 {
            let address = IpAddr::from(number.to_be_bytes());
            counter.count(&limit, Subject::ClientIp(address), 0);
        }
        assert!(counter.len() <= 640, "{}", counter.len());
        for shard in &counter.shards {
            let mut shard = lock(shard);
            shard.retain(|_, window| !window.is_empty_at(5_000));
        }
        assert_eq!(counter.len(), 0);
    }
}
