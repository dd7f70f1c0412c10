//! Sessions that keep something open: a WebSocket lives longer than the request that brought its token.
//!
//! News of the feed reach those who are concerned, and wake no others, however many there are.

use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::Revocations;

/// How much is open by each session, and what tells it that the session has ended.
#[derive(Debug, Default)]
pub(super) struct OpenSessions(Mutex<HashMap<Box<str>, (usize, CancellationToken)>>);

/// Ready once the session has ended.
pub(crate) struct SessionEnd {
    revocations: Arc<Revocations>,
    session: Box<str>,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl OpenSessions {
    pub(super) fn end<'s>(&self, sessions: impl Iterator<Item = &'s str>) {
        let open = self.lock();
        if open.is_empty() {
            return;
        }
        for session in sessions {
            if let Some((_, ended)) = open.get(session) {
                ended.cancel();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, (usize, CancellationToken)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionEnd {
    pub(super) fn of(revocations: &Arc<Revocations>, session: &str) -> Self {
        let ended = {
            let mut open = revocations.open.lock();
            let (count, ended) = open.entry(session.into()).or_default();
            *count += 1;
            ended.clone()
        };
        if revocations.is_revoked(session) {
            // The news came before this one was noted.
            ended.cancel();
        }
        Self {
            revocations: Arc::clone(revocations),
            session: session.into(),
            ended: Box::pin(ended.cancelled_owned()),
        }
    }
}

impl Future for SessionEnd {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.ended.as_mut().poll(context)
    }
}

impl Drop for SessionEnd {
    fn drop(&mut self) {
        let mut open = self.revocations.open.lock();
        if let Some((count, _)) = open.get_mut(&self.session) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.session);
            }
        }
    }
}

impl fmt::Debug for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionEnd")
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use quartet_common::clock::Clock;

    use super::*;

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
