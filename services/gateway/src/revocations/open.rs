//! Sessions that keep something open: a WebSocket lives longer than the request that brought its token,
//! or its cookie.
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

/// How much is open by each session, and what reports that the session has ended.
#[derive(Debug, Default)]
pub(crate) struct OpenSessions(Mutex<HashMap<Box<str>, (usize, CancellationToken)>>);

/// Ready once the session has ended.
pub(crate) struct SessionEnd {
    open: Arc<OpenSessions>,
    session: Box<str>,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl OpenSessions {
    /// Notes that the session has something open, until the result is dropped.
    pub(crate) fn note(self: &Arc<Self>, session: &str) -> SessionEnd {
        let ended = {
            let mut open = self.lock();
            let (count, ended) = open.entry(session.into()).or_default();
            *count += 1;
            ended.clone()
        };
        SessionEnd {
            open: Arc::clone(self),
            session: session.into(),
            ended: Box::pin(ended.cancelled_owned()),
        }
    }

    pub(crate) fn end<'s>(&self, sessions: impl Iterator<Item = &'s str>) {
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

    /// Those that have something open, up to a number.
    pub(crate) fn names(&self, most: usize) -> Vec<Box<str>> {
        self.lock().keys().take(most).cloned().collect()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, (usize, CancellationToken)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut open = self.open.lock();
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
