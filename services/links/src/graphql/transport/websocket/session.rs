//! One WebSocket, from its first message to its close frame.
//!
//! ```text
//! opened --connection_init, valid token--> ready --token expired--> closed (4401)
//!    |  \--nothing for init_timeout_seconds--> closed (4408)
//!    |  \--invalid token--> closed (4403); keys not available: closed (1013)
//!    |  \--subscribe--> closed (4401)
//!  ready --subscribe{id}--> the operation `id` runs --next*, then error or complete--> `id` is free
//!        --complete{id}---> the operation `id` is aborted, its queued messages are discarded
//! any state --protocol error--> closed (44xx); --no pong, or no reading for 30 s--> dropped
//! ```
//!
//! Invariants:
//! - The session's task alone reads and writes the socket. Operations run in tasks of their own and
//!   send to a bounded queue, so that a slow client stops its operations instead of filling memory.
//! - An operation has the serial number of its `subscribe`. A client may reuse an id right after
//!   `complete`; without the number, queued messages of the old operation would be delivered as
//!   those of the new one.
//! - A session never outlives its token: the deadline is set anew after each event.
//! - When the session ends, its operations are aborted: none of them runs for a client that has
//!   disconnected.

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

use super::message::{self, ClientMessage};
use crate::{
    config::GraphQl as Settings,
    graphql::transport::{
        execution::Operation, request::GraphQlRequest, response::GraphQlResponse,
        state::GraphQlState,
    },
    problems::graphql as problems,
};

/// Messages that wait for a slow client. Beyond that, its operations wait.
const QUEUE: usize = 16;
/// A client that reads nothing for this long is considered disconnected.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest time that a timer is set for, instead of that to an expiry in the far future.
const MAX_LIFETIME_MS: u64 = 365 * 24 * 3600 * 1000;

/// Code and reason of a close frame.
type Close = (u16, &'static str);

const GOING_AWAY: Close = (1001, "The server is shutting down");
const TOO_BIG: Close = (1009, "The message is too big");
const TRY_AGAIN_LATER: Close = (1013, "Try again later");
const BAD_REQUEST: u16 = 4400;
const NOT_TEXT: Close = (BAD_REQUEST, "Messages must be text");
const UNAUTHORIZED: Close = (4401, "Unauthorized");
const EXPIRED: Close = (4401, "The access token has expired");
const FORBIDDEN: Close = (4403, "Forbidden");
const WRONG_PROTOCOL: Close = (4406, "Subprotocol not acceptable");
const INIT_TIMEOUT: Close = (4408, "Connection initialisation timeout");
const DUPLICATE: Close = (4409, "Subscriber for this id already exists");
const TOO_MANY_INITS: Close = (4429, "Too many initialisation requests");

/// How a session ends: with a close frame, or without one because the client has disconnected.
type Ended = Option<Close>;

/// A socket and the operations that run on it.
pub(super) struct Session {
    socket: WebSocket,
    state: GraphQlState,
    header_token: Option<String>,
    is_initialised: bool,
    caller: Option<Caller>,
    operations: HashMap<String, Running>,
    /// The serial number of the last operation.
    last_serial: u64,
    sender: mpsc::Sender<Event>,
    queue: mpsc::Receiver<Event>,
}

struct Running {
    serial: u64,
    task: AbortHandle,
}

/// What an operation sends to the session.
struct Event {
    id: String,
    serial: u64,
    kind: EventKind,
}

enum EventKind {
    Next(Value),
    Error(Value),
    Complete,
}

impl Session {
    pub(super) fn new(
        socket: WebSocket,
        state: GraphQlState,
        header_token: Option<String>,
    ) -> Self {
        let (sender, queue) = mpsc::channel(QUEUE);
        Self {
            socket,
            state,
            header_token,
            is_initialised: false,
            caller: None,
            operations: HashMap::new(),
            last_serial: 0,
            sender,
            queue,
        }
    }

    /// Runs until either side closes.
    pub(super) async fn run(mut self, has_protocol: bool) {
        let ended = if has_protocol {
            self.serve().await
        } else {
            Some(WRONG_PROTOCOL)
        };
        for running in self.operations.values() {
            running.task.abort();
        }
        if let Some((code, reason)) = ended {
            let reason = reason.into();
            // If the client has disconnected meanwhile, there is nothing left to do.
            let _ = self
                .send(Message::Close(Some(CloseFrame { code, reason })))
                .await;
        }
    }

    async fn serve(&mut self) -> Ended {
        let settings = self.settings();
        let init_timeout = Duration::from_secs(settings.init_timeout_seconds);
        let period = Duration::from_secs(settings.keep_alive_seconds);
        let (mut deadline, mut at_deadline) = (Instant::now() + init_timeout, INIT_TIMEOUT);
        let mut keep_alive = tokio::time::interval_at(Instant::now() + period, period);
        let mut is_alive = true;
        loop {
            let done = tokio::select! {
                received = self.socket.recv() => {
                    is_alive = true;
                    self.receive(received).await
                }
                Some(event) = self.queue.recv() => self.forward(event).await,
                _ = keep_alive.tick() => {
                    // Nothing since the last ping, not even its pong.
                    if !std::mem::replace(&mut is_alive, false) {
                        return None;
                    }
                    self.send(Message::Ping(Bytes::new())).await
                }
                () = tokio::time::sleep_until(deadline) => Err(Some(at_deadline)),
                () = self.state.app.base.shutdown.cancelled() => Err(Some(GOING_AWAY)),
            };
            if let Err(ended) = done {
                return ended;
            }
            if let Some(caller) = &self.caller {
                (deadline, at_deadline) = (self.expiry(caller), EXPIRED);
            }
        }
    }

    async fn receive(&mut self, received: Option<Result<Message, Error>>) -> Result<(), Ended> {
        match received {
            Some(Ok(Message::Text(text))) => {
                let message =
                    ClientMessage::parse(&text).map_err(|reason| Some((BAD_REQUEST, reason)))?;
                self.handle(message).await
            }
            Some(Ok(Message::Binary(_))) => Err(Some(NOT_TEXT)),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Err(error)) if error.to_string().contains("too long") => Err(Some(TOO_BIG)),
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(None),
        }
    }

    async fn handle(&mut self, message: ClientMessage) -> Result<(), Ended> {
        match message {
            ClientMessage::ConnectionInit { payload } => self.initialise(payload).await,
            ClientMessage::Ping { payload } => self.send_text(message::pong(payload)).await,
            ClientMessage::Pong { .. } => Ok(()),
            ClientMessage::Subscribe { id, payload } => self.subscribe(id, payload).await,
            ClientMessage::Complete { id } => {
                if let Some(running) = self.operations.remove(&id) {
                    running.task.abort();
                }
                Ok(())
            }
        }
    }

    async fn initialise(&mut self, payload: Option<Map<String, Value>>) -> Result<(), Ended> {
        if std::mem::replace(&mut self.is_initialised, true) {
            return Err(Some(TOO_MANY_INITS));
        }
        let token = message::token(payload.as_ref()).or(self.header_token.as_deref());
        let verified = match token {
            Some(token) => Caller::from_token(&self.state.app.base.verifier, token).await,
            None => Err(JwtError::Missing),
        };
        let caller = verified.map_err(|error| match error {
            JwtError::KeysUnavailable(_) => Some(TRY_AGAIN_LATER),
            _ => Some(FORBIDDEN),
        })?;
        self.caller = Some(caller);
        self.send_text(message::connection_ack()).await
    }

    async fn subscribe(&mut self, id: String, payload: Value) -> Result<(), Ended> {
        let Some(caller) = &self.caller else {
            return Err(Some(UNAUTHORIZED));
        };
        if self.operations.contains_key(&id) {
            return Err(Some(DUPLICATE));
        }
        match self.prepare(payload, caller) {
            Ok(operation) => self.start(id, operation),
            Err(response) => {
                let message = message::error(&id, &response.into_errors());
                self.send_text(message).await?;
            }
        }
        Ok(())
    }

    fn prepare(&self, payload: Value, caller: &Caller) -> Result<Operation, GraphQlResponse> {
        let limit = self.settings().max_subscriptions_per_socket;
        let request = if self.operations.len() < limit {
            GraphQlRequest::from_json(payload)
        } else {
            Err(too_many_operations(limit))
        };
        let request =
            request.map_err(|problem| GraphQlResponse::from_problem(&problem, self.settings()))?;
        Operation::prepare(request, caller, &self.state)
    }

    fn start(&mut self, id: String, operation: Operation) {
        self.last_serial += 1;
        let serial = self.last_serial;
        let mut responses = Box::pin(operation.stream(&self.state));
        let sender = self.sender.clone();
        let event_id = id.clone();
        let task = tokio::spawn(async move {
            let event = |kind| Event {
                id: event_id.clone(),
                serial,
                kind,
            };
            let mut last = EventKind::Complete;
            while let Some(response) = responses.next().await {
                if response.is_request_error() {
                    last = EventKind::Error(response.into_errors());
                    break;
                }
                let next = EventKind::Next(response.into_json());
                if sender.send(event(next)).await.is_err() {
                    return;
                }
            }
            // Fails only if the session has ended.
            let _ = sender.send(event(last)).await;
        });
        let task = task.abort_handle();
        self.operations.insert(id, Running { serial, task });
    }

    /// Forwards an event to the client, unless the client has completed the operation meanwhile.
    async fn forward(&mut self, event: Event) -> Result<(), Ended> {
        let Event { id, serial, kind } = event;
        let running = self.operations.get(&id);
        if running.is_none_or(|running| running.serial != serial) {
            return Ok(());
        }
        let message = match kind {
            EventKind::Next(payload) => return self.send_text(message::next(&id, &payload)).await,
            EventKind::Error(errors) => message::error(&id, &errors),
            EventKind::Complete => message::complete(&id),
        };
        self.operations.remove(&id);
        self.send_text(message).await
    }

    fn expiry(&self, caller: &Caller) -> Instant {
        let now = self.state.app.ctx.clock.now().timestamp_millis();
        let left = caller.claims.exp.saturating_mul(1000).saturating_sub(now);
        let left = u64::try_from(left).unwrap_or(0).min(MAX_LIFETIME_MS);
        Instant::now() + Duration::from_millis(left)
    }

    async fn send_text(&mut self, text: String) -> Result<(), Ended> {
        self.send(Message::Text(text.into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Ended> {
        match tokio::time::timeout(SEND_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(None),
        }
    }

    fn settings(&self) -> &Settings {
        &self.state.app.ctx.config.graphql
    }
}

fn too_many_operations(limit: usize) -> Problem {
    let kind = &problems::TOO_MANY_SUBSCRIPTIONS;
    let detail = format!("must be one of at most {limit} operations on this socket");
    Problem::new(kind).field(FieldError::body("/id", kind.code, detail))
}
