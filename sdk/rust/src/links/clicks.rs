//! Clicks as they happen: a subscription that outlives its connections.
//!
//! ```text
//! connect ──> subscribed ──┬─ complete (the link was deleted) ──> end
//!    ^                     └─ closed ──┬─ refused ────────────────> error, end
//!    └── pause, new token if needed <──┴─ transient, token expired
//! ```

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use cynic::SubscriptionBuilder as _;
use futures_util::stream::{self, Stream};
use serde_json::{Value, json};

use super::operations::{ById, ClicksOf};
use super::socket::{Closed, Next, Socket};
use super::types::{Click, LinkId};
use crate::client::Quartet;
use crate::error::Error;
use crate::problem::Problem;
use crate::secret::Secret;

/// How many more attempts than a single request a subscription makes to reconnect: a program
/// that watches for hours can wait longer for the server to return.
const PATIENCE: u32 = 5;
/// A connection that was open for this long, or brought a click, worked. Any other counts as a
/// failure: a service that accepts connections and closes them at once would be asked without an end.
const WORKED_AFTER: Duration = Duration::from_secs(1);

/// The clicks of one link, from [`Links::watch`](super::Links::watch). Ends when the link is
/// deleted, or after an error that a retry cannot fix.
#[must_use = "a stream does nothing unless polled"]
pub struct Watch(Pin<Box<dyn Stream<Item = Result<Click, Error>> + Send>>);

struct State {
    quartet: Quartet,
    /// The subscription request.
    payload: Value,
    socket: Option<Socket>,
    token: Option<Secret>,
    /// Failures since a connection has worked.
    failures: u32,
    connected_at: Option<Instant>,
    was_connected: bool,
    over: bool,
}

impl Watch {
    pub(super) fn new(quartet: Quartet, id: LinkId) -> Self {
        let operation = ClicksOf::build(ById { id });
        let state = State {
            quartet,
            payload: json!(operation),
            socket: None,
            token: None,
            failures: 0,
            connected_at: None,
            was_connected: false,
            over: false,
        };
        Self(Box::pin(stream::unfold(state, |mut state| async {
            let item = state.next().await?;
            Some((item, state))
        })))
    }
}

impl Stream for Watch {
    type Item = Result<Click, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

impl State {
    async fn next(&mut self) -> Option<Result<Click, Error>> {
        while !self.over {
            match self.listen().await {
                Ok(Next::Data(ClicksOf { clicks })) => {
                    self.failures = 0;
                    return Some(Ok(clicks));
                }
                Ok(Next::Complete) => self.over = true,
                Err(closed) => {
                    self.socket = None;
                    if let Err(error) = self.recover(closed).await {
                        self.over = true;
                        return Some(Err(error));
                    }
                }
            }
        }
        None
    }

    async fn listen(&mut self) -> Result<Next<ClicksOf>, Closed> {
        if self.socket.is_none() {
            self.socket = Some(self.connect().await?);
            self.connected_at = Some(Instant::now());
            self.was_connected = true;
        }
        match &mut self.socket {
            Some(socket) => socket.next().await,
            None => Ok(Next::Complete),
        }
    }

    async fn connect(&mut self) -> Result<Socket, Closed> {
        let transport = &self.quartet.transport;
        let token = transport.keeper.token(&transport.sender).await;
        self.token = token.map_err(|error| match Error::from(error) {
            error @ Error::Transport(_) => Closed::Transient(error),
            error => Closed::Refused(error),
        })?;
        let base = &transport.sender.base;
        let mut socket = Socket::connect(&self.quartet.streams, base, self.token.as_ref()).await?;
        socket.subscribe(&self.payload).await?;
        Ok(socket)
    }

    /// Pauses before the next attempt, or returns the error if there should be none.
    async fn recover(&mut self, closed: Closed) -> Result<(), Error> {
        let connected_at = self.connected_at.take();
        if connected_at.is_some_and(|at| at.elapsed() >= WORKED_AFTER) {
            self.failures = 0;
        }
        self.failures += 1;
        let transport = &self.quartet.transport;
        let (error, wait) = match closed {
            Closed::Refused(error) => return Err(error),
            Closed::Unauthorized => {
                let error = Error::from(unauthenticated());
                let Some(token) = &self.token else {
                    return Err(error);
                };
                transport.keeper.successor(token, &transport.sender).await?;
                (error, None)
            }
            Closed::Transient(error) => {
                let wait = error.problem().and_then(|problem| problem.retry_after);
                (error, wait)
            }
        };
        let mut policy = transport.retry.as_ref().clone();
        if self.was_connected && policy.attempts > 1 {
            policy.attempts = policy.attempts.saturating_mul(PATIENCE);
        }
        match policy.pause(self.failures, wait) {
            Some(pause) => {
                tokio::time::sleep(pause).await;
                Ok(())
            }
            None => Err(error),
        }
    }
}

/// Stands in for the problem document that a closed socket does not have.
fn unauthenticated() -> Problem {
    let body = br#"{"code": "unauthenticated", "title": "A valid access token is required"}"#;
    Problem::read(body, 401, &http::HeaderMap::new())
}
