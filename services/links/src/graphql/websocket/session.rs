//! One socket from its first message to its close code.

use std::{collections::HashMap, time::Duration};

use axum::{
    Error,
    extract::ws::{CloseFrame, Message, WebSocket},
};
use bytes::Bytes;
use futures_util::StreamExt;
use quartet_auth::{Caller, jwt::JwtError};
use quartet_common::problem::{FieldError, Problem};
use serde_json::{Map, Value};
use tokio::{sync::mpsc, task::AbortHandle, time::Instant};

use super::message::{self, Incoming};
use crate::{
    error::kinds::graphql as kinds,
    graphql::execute::{Answer, Parameters},
    state::AppState,
};

/// Results that wait for a slow client; its operations wait beyond that.
const OUTBOX: usize = 16;
/// A client that takes no bytes for so long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Close code and reason.
type Close = (u16, &'static str);

const GOING_AWAY: Close = (1001, "The server is stopping");
const TOO_BIG: Close = (1009, "The message is too big");
const NOT_TEXT: Close = (4400, "Messages must be text");
const UNAUTHORIZED: Close = (4401, "Unauthorized");
const EXPIRED: Close = (4401, "The access token has expired");
const FORBIDDEN: Close = (4403, "Forbidden");
const WRONG_PROTOCOL: Close = (4406, "Subprotocol not acceptable");
const INIT_TIMEOUT: Close = (4408, "Connection initialisation timeout");
const DUPLICATE: Close = (4409, "Subscriber for this id already exists");
const TOO_MANY_INITS: Close = (4429, "Too many initialisation requests");

/// A socket and the operations that run on it.
pub(super) struct Session {
    socket: WebSocket,
    state: AppState,
    header_token: Option<String>,
    initialised: bool,
    caller: Option<Caller>,
    /// The number tells an operation from a later one with the same id.
    operations: HashMap<String, (u64, AbortHandle)>,
    started: u64,
    outbox: mpsc::Sender<Outgoing>,
    results: mpsc::Receiver<Outgoing>,
}

/// What an operation has to say.
struct Outgoing {
    id: String,
    number: u64,
    what: Outcome,
}

enum Outcome {
    Next(Value),
    Error(Value),
    Complete,
}

/// What ended a turn of the loop.
enum Event {
    Received(Option<Result<Message, Error>>),
    Result(Outgoing),
    Tick,
    Close(Close),
}

impl Session {
    pub(super) fn new(socket: WebSocket, state: AppState, header_token: Option<String>) -> Self {
        let (outbox, results) = mpsc::channel(OUTBOX);
        Self {
            socket,
            state,
            header_token,
            initialised: false,
            caller: None,
            operations: HashMap::new(),
            started: 0,
            outbox,
            results,
        }
    }

    /// Speaks until either side closes.
    pub(super) async fn run(mut self, speaks_protocol: bool) {
        let close = if speaks_protocol {
            self.converse().await
        } else {
            Some(WRONG_PROTOCOL)
        };
        for (_, handle) in self.operations.values() {
            handle.abort();
        }
        if let Some((code, reason)) = close {
            let frame = CloseFrame {
                code,
                reason: reason.into(),
            };
            // Whoever is gone already need not be told.
            let _ = self.send(Message::Close(Some(frame))).await;
        }
    }

    /// Gives the close to send, or nothing when the client is gone.
    async fn converse(&mut self) -> Option<Close> {
        let settings = &self.state.config.graphql;
        let mut deadline = (
            Instant::now() + Duration::from_secs(settings.init_timeout_seconds),
            INIT_TIMEOUT,
        );
        let pause = Duration::from_secs(settings.keep_alive_seconds);
        let mut ticks = tokio::time::interval_at(Instant::now() + pause, pause);
        let mut heard = true;
        loop {
            let event = tokio::select! {
                received = self.socket.recv() => Event::Received(received),
                Some(result) = self.results.recv() => Event::Result(result),
                _ = ticks.tick() => Event::Tick,
                () = tokio::time::sleep_until(deadline.0) => Event::Close(deadline.1),
                () = self.state.shutdown.cancelled() => Event::Close(GOING_AWAY),
            };
            let outcome = match event {
                Event::Received(received) => {
                    heard = true;
                    self.receive(received).await
                }
                Event::Result(result) => self.report(result).await,
                // No answer to the last ping: nobody is there.
                Event::Tick if !heard => Err(None),
                Event::Tick => {
                    heard = false;
                    self.send(Message::Ping(Bytes::new())).await
                }
                Event::Close(close) => Err(Some(close)),
            };
            if let Err(close) = outcome {
                return close;
            }
            if let Some(caller) = &self.caller {
                deadline = (self.expiry(caller), EXPIRED);
            }
        }
    }

    async fn receive(
        &mut self,
        received: Option<Result<Message, Error>>,
    ) -> Result<(), Option<Close>> {
        match received {
            Some(Ok(Message::Text(text))) => {
                let message = Incoming::parse(&text).map_err(|reason| Some((4400, reason)))?;
                self.obey(message).await
            }
            Some(Ok(Message::Binary(_))) => Err(Some(NOT_TEXT)),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Err(error)) if error.to_string().contains("too long") => Err(Some(TOO_BIG)),
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(None),
        }
    }

    async fn obey(&mut self, message: Incoming) -> Result<(), Option<Close>> {
        match message {
            Incoming::ConnectionInit { payload } => self.initialise(payload).await,
            Incoming::Ping { payload } => self.say(message::pong(payload)).await,
            Incoming::Pong { .. } => Ok(()),
            Incoming::Subscribe { id, payload } => self.subscribe(id, payload).await,
            Incoming::Complete { id } => {
                if let Some((_, handle)) = self.operations.remove(&id) {
                    handle.abort();
                }
                Ok(())
            }
        }
    }

    async fn initialise(
        &mut self,
        payload: Option<Map<String, Value>>,
    ) -> Result<(), Option<Close>> {
        if std::mem::replace(&mut self.initialised, true) {
            return Err(Some(TOO_MANY_INITS));
        }
        let token = message::token(payload.as_ref()).or(self.header_token.as_deref());
        let verified = match token {
            Some(token) => Caller::from_token(&self.state.verifier, token).await,
            None => Err(JwtError::Missing),
        };
        let caller = verified.map_err(|error| match error {
            JwtError::KeysUnavailable(_) => Some((1013, "Try again later")),
            _ => Some(FORBIDDEN),
        })?;
        self.caller = Some(caller);
        self.say(message::connection_ack()).await
    }

    async fn subscribe(&mut self, id: String, payload: Value) -> Result<(), Option<Close>> {
        let Some(caller) = self.caller.clone() else {
            return Err(Some(UNAUTHORIZED));
        };
        if self.operations.contains_key(&id) {
            return Err(Some(DUPLICATE));
        }
        let limit = self.state.config.graphql.max_subscriptions_per_socket;
        if self.operations.len() >= limit {
            let answer = Answer::problem(&too_many(limit), &self.state);
            return self.say(message::error(&id, &answer.into_errors())).await;
        }
        let prepared = Parameters::from_json(payload)
            .map_err(|problem| Answer::problem(&problem, &self.state))
            .and_then(|parameters| parameters.prepare(&self.state, &caller));
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(answer) => return self.say(message::error(&id, &answer.into_errors())).await,
        };
        self.started += 1;
        let number = self.started;
        let mut answers = Box::pin(prepared.stream(&self.state));
        let (outbox, own_id) = (self.outbox.clone(), id.clone());
        let task = tokio::spawn(async move {
            let mut last = Outcome::Complete;
            while let Some(answer) = answers.next().await {
                if answer.is_request_error() {
                    last = Outcome::Error(answer.into_errors());
                    break;
                }
                let what = Outcome::Next(answer.into_json());
                if outbox
                    .send(Outgoing {
                        id: own_id.clone(),
                        number,
                        what,
                    })
                    .await
                    .is_err()
                {
                    return;
                }
            }
            // The socket is gone when nobody takes this.
            let _ = outbox
                .send(Outgoing {
                    id: own_id,
                    number,
                    what: last,
                })
                .await;
        });
        self.operations.insert(id, (number, task.abort_handle()));
        Ok(())
    }

    async fn report(&mut self, result: Outgoing) -> Result<(), Option<Close>> {
        let Outgoing { id, number, what } = result;
        // The client may have completed it, and may even have begun another under its id.
        if self
            .operations
            .get(&id)
            .is_none_or(|(running, _)| *running != number)
        {
            return Ok(());
        }
        match what {
            Outcome::Next(payload) => self.say(message::next(&id, &payload)).await,
            Outcome::Error(errors) => {
                self.operations.remove(&id);
                self.say(message::error(&id, &errors)).await
            }
            Outcome::Complete => {
                self.operations.remove(&id);
                self.say(message::complete(&id)).await
            }
        }
    }

    fn expiry(&self, caller: &Caller) -> Instant {
        let now = self.state.clock.now();
        let left = caller
            .claims
            .exp
            .saturating_mul(1000)
            .saturating_sub(now.timestamp_millis());
        // Further away than a timer can be set: a token that never expires.
        let left = u64::try_from(left).unwrap_or(0).min(365 * 24 * 3600 * 1000);
        Instant::now() + Duration::from_millis(left)
    }

    async fn say(&mut self, text: String) -> Result<(), Option<Close>> {
        self.send(Message::Text(text.into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Option<Close>> {
        match tokio::time::timeout(SEND_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(None),
        }
    }
}

fn too_many(limit: usize) -> Problem {
    let detail = format!("must be one of at most {limit} operations on a socket");
    Problem::new(&kinds::TOO_MANY_SUBSCRIPTIONS).field(FieldError::body(
        "/id",
        "too_many_subscriptions",
        detail,
    ))
}
