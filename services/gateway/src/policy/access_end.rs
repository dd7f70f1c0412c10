//! Until when a token, or the session of a login, permits what it has opened.
//!
//! A request is verified once. A WebSocket stays open for hours; it is closed when its token expires, and
//! when the session of the token ends, or with its login.

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

use crate::{
    revocations::{
        Revocations,
        open::{OpenSessions, SessionEnd},
    },
    session::SessionKey,
};

/// What a token or a session permits, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct AccessSpan {
    /// In seconds since 1970.
    until: i64,
    /// Those among which the token's session may be, and its name.
    token: Option<(Arc<Revocations>, Box<str>)>,
    /// The same of a session of the gateway itself.
    login: Option<(Arc<OpenSessions>, Box<str>)>,
    /// Why it is over.
    over: Arc<OnceLock<&'static str>>,
}

/// Ready once the token, or the session, permits nothing any more.
pub(crate) struct AccessEnd {
    expiry: Pin<Box<Sleep>>,
    token: Option<SessionEnd>,
    login: Option<SessionEnd>,
    over: Arc<OnceLock<&'static str>>,
}

impl AccessSpan {
    pub(super) fn new(
        claims: &Arc<Claims>,
        leeway_seconds: u64,
        revocations: Option<&Arc<Revocations>>,
    ) -> Self {
        Self {
            until: claims.exp.saturating_add_unsigned(leeway_seconds),
            token: session_of(claims, revocations),
            login: None,
            over: Arc::default(),
        }
    }

    /// Of a session of the gateway, which outlives the tokens that it has.
    pub(super) fn of_session(until: i64, open: &Arc<OpenSessions>, key: &SessionKey) -> Self {
        Self {
            until,
            token: None,
            login: Some((Arc::clone(open), key.hex().into())),
            over: Arc::default(),
        }
    }

    /// Ends with the session of a token too.
    pub(super) fn add_token(&mut self, claims: &Claims, revocations: Option<&Arc<Revocations>>) {
        self.token = session_of(claims, revocations);
    }

    /// Why something was closed, for the log.
    pub(crate) fn over(&self) -> Option<&'static str> {
        self.over.get().copied()
    }

    /// From now on. On a runtime.
    pub(crate) fn end(&self, clock: &Clock) -> AccessEnd {
        let left = self.until.saturating_sub(clock.now().timestamp());
        let token = self.token.as_ref();
        let login = self.login.as_ref();
        AccessEnd {
            expiry: Box::pin(sleep(Duration::from_secs(u64::try_from(left).unwrap_or(0)))),
            token: token.map(|(revocations, session)| revocations.session_end(session)),
            login: login.map(|(open, session)| open.note(session)),
            over: Arc::clone(&self.over),
        }
    }
}

fn session_of(
    claims: &Claims,
    revocations: Option<&Arc<Revocations>>,
) -> Option<(Arc<Revocations>, Box<str>)> {
    let revocations = revocations.cloned();
    revocations.zip(claims.sid.as_deref().map(Box::from))
}

impl Future for AccessEnd {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut ended = |session: &mut SessionEnd| Pin::new(session).poll(context).is_ready();
        let why = if self.token.as_mut().is_some_and(&mut ended) {
            "the session of the access token has ended"
        } else if self.login.as_mut().is_some_and(&mut ended) {
            "the session has ended"
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
