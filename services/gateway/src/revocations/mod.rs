//! Sessions of core that have ended before their access tokens.
//!
//! [`follow`] reads them from core; requests look them up. The set outlives every snapshot, and a feed
//! that is away for a while loses nothing: it continues where it was.

pub(crate) mod follow;
pub(crate) mod open;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use quartet_common::clock::Clock;

use open::{OpenSessions, SessionEnd};

/// With the time after which none of its tokens is valid any more, in seconds since 1970.
type Sessions = HashMap<Box<str>, i64>;

/// The sessions that are known to have ended.
#[derive(Debug)]
pub(crate) struct Revocations {
    clock: Clock,
    started: Instant,
    /// When the feed was last read to its end, in milliseconds after `started`.
    read_at: AtomicU64,
    /// Replaced as a whole, so that a look-up never waits.
    sessions: ArcSwap<Sessions>,
    open: Arc<OpenSessions>,
}

/// There are more sessions than may be remembered.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("there are more than {0} revoked sessions (revocations.max_sessions)")]
pub(crate) struct TooMany(usize);

/// The feed has not been read yet.
const NEVER: u64 = u64::MAX;

impl Revocations {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            clock,
            started: Instant::now(),
            read_at: AtomicU64::new(NEVER),
            sessions: ArcSwap::default(),
            open: Arc::default(),
        })
    }

    pub(crate) fn is_revoked(&self, session: &str) -> bool {
        self.sessions.load().contains_key(session)
    }

    /// Ready when the session has ended.
    pub(crate) fn session_end(&self, session: &str) -> SessionEnd {
        let end = self.open.note(session);
        if self.is_revoked(session) {
            // The news came before it was noted.
            self.open.end([session].into_iter());
        }
        end
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.load().len()
    }

    /// How long ago the feed was read to its end. `None`: never.
    pub(crate) fn age(&self) -> Option<Duration> {
        let read_at = self.read_at.load(Ordering::Acquire);
        let age = || {
            self.started
                .elapsed()
                .saturating_sub(Duration::from_millis(read_at))
        };
        (read_at != NEVER).then(age)
    }

    pub(crate) fn is_older_than(&self, limit: Duration) -> bool {
        self.age().is_none_or(|age| age > limit)
    }

    /// The feed was read to its end.
    fn note_end(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(NEVER - 1);
        self.read_at.store(now, Ordering::Release);
    }

    /// Remembers sessions, and forgets those whose tokens have expired. There is one writer.
    ///
    /// # Errors
    /// When there are too many. None is forgotten then, and none of the new ones is known.
    fn add(&self, new: Vec<(Box<str>, i64)>, max: usize) -> Result<(), TooMany> {
        let now = self.clock.now().timestamp();
        let known = self.sessions.load();
        let has_expired = known.values().any(|until| *until < now);
        let is_known = |(session, _): &(Box<str>, i64)| known.contains_key(session);
        if !has_expired && new.iter().all(is_known) {
            return Ok(());
        }
        let ended: Vec<Box<str>> = new.iter().map(|(session, _)| session.clone()).collect();
        let mut sessions = Sessions::clone(&known);
        sessions.extend(new);
        sessions.retain(|_, until| *until >= now);
        if sessions.len() > max {
            return Err(TooMany(max));
        }
        self.sessions.store(Arc::new(sessions));
        self.open.end(ended.iter().map(|session| &**session));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn sessions_are_remembered_until_their_tokens_expire() {
        let clock = Clock::manual(Clock::system().now());
        let revocations = Revocations::new(clock.clone());
        let until = |seconds| clock.now().timestamp() + seconds;
        let add = |session: &str, until, max| revocations.add(vec![(session.into(), until)], max);
        assert!(!revocations.is_revoked("ses_a"));
        add("ses_a", until(10), 2).unwrap();
        add("ses_b", until(20), 2).unwrap();
        assert!(add("ses_c", until(20), 2).is_err());
        assert!(revocations.is_revoked("ses_a") && !revocations.is_revoked("ses_c"));
        clock.advance(TimeDelta::seconds(11));
        add("ses_c", until(20), 2).unwrap();
        assert!(!revocations.is_revoked("ses_a") && revocations.is_revoked("ses_b"));
        assert_eq!(revocations.len(), 2);
    }

    #[test]
    fn a_feed_that_was_never_read_is_old() {
        let revocations = Revocations::new(Clock::system());
        assert!(revocations.is_older_than(Duration::MAX));
        revocations.note_end();
        assert!(!revocations.is_older_than(Duration::from_mins(1)));
    }

    #[test]
    fn what_is_open_learns_of_the_end_of_its_session_alone() {
        let clock = Clock::system();
        let revocations = Revocations::new(clock.clone());
        let until = clock.now().timestamp() + 60;
        let mut first = revocations.session_end("ses_a");
        let mut second = revocations.session_end("ses_a");
        let mut other = revocations.session_end("ses_b");
        for end in [&mut first, &mut second, &mut other] {
            assert!(end.now_or_never().is_none());
        }
        revocations.add(vec![("ses_a".into(), until)], 9).unwrap();
        assert!((&mut first).now_or_never().is_some());
        assert!((&mut second).now_or_never().is_some());
        assert!((&mut other).now_or_never().is_none());
        // One that comes too late knows it at once.
        assert!(revocations.session_end("ses_a").now_or_never().is_some());
        drop((first, second));
        assert_eq!(revocations.open.lock().len(), 1);
        drop(other);
        assert!(revocations.open.lock().is_empty());
    }
}
