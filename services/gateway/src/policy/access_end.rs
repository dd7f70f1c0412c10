//! Until when a token permits what it has opened.
//!
//! A request is verified once. A WebSocket stays open for hours; it is closed when its token expires, and
//! when the session of the token ends.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use quartet_auth::jwt::Claims;
use quartet_common::clock::Clock;
use tokio::time::{Sleep, sleep};

use crate::revocations::{Revocations, open::SessionEnd};

/// What a token permits, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct AccessSpan {
    claims: Arc<Claims>,
    leeway_seconds: u64,
    /// Those among which the token's session may be.
    revocations: Option<Arc<Revocations>>,
    /// Why it is over.
    over: Arc<OnceLock<&'static str>>,
}

/// Ready once the token permits nothing any more.
pub(crate) struct AccessEnd {
    expiry: Pin<Box<Sleep>>,
    session: Option<SessionEnd>,
    over: Arc<OnceLock<&'static str>>,
}

impl AccessSpan {
    pub(super) fn new(
        claims: &Arc<Claims>,
        leeway_seconds: u64,
        revocations: Option<&Arc<Revocations>>,
    ) -> Self {
        Self {
            claims: Arc::clone(claims),
            leeway_seconds,
            revocations: revocations.cloned(),
            over: Arc::default(),
        }
    }

    /// Why something was closed, for the log.
    pub(crate) fn over(&self) -> Option<&'static str> {
        self.over.get().copied()
    }

    /// From now on. On a runtime.
    pub(crate) fn end(&self, clock: &Clock) -> AccessEnd {
        let until = self.claims.exp.saturating_add_unsigned(self.leeway_seconds);
        let left = until.saturating_sub(clock.now().timestamp());
        let session = self.claims.sid.as_deref();
        let session = self.revocations.as_ref().zip(session);
        AccessEnd {
            expiry: Box::pin(sleep(Duration::from_secs(u64::try_from(left).unwrap_or(0)))),
            session: session.map(|(revocations, session)| revocations.session_end(session)),
            over: Arc::clone(&self.over),
        }
    }
}

impl Future for AccessEnd {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let ended = |session: &mut SessionEnd| Pin::new(session).poll(context).is_ready();
        let why = if self.session.as_mut().is_some_and(ended) {
            "the session of the access token has ended"
        } else if self.expiry.as_mut().poll(context).is_ready() {
            "the access token has expired"
        } else {
            return Poll::Pending;
        };
        self.over.get_or_init(|| why);
        Poll::Ready(())
    }
}

impl fmt::Debug for AccessEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessEnd")
    }
}
