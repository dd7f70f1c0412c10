//! One WebSocket, from its first message to its close frame.
//!
//! ```text
//! opened --connection_init, valid token--> ready --token expired--> closed (4401)
//!    |  \--nothing for init_timeout_seconds--> closed (4408)
//!    |  \--no token, an invalid or an expired one--> closed (4401); keys not available: closed (1013)
//!    |  \--subscribe--> closed (4401)
//!    |  \--the user has too many sockets: closed (1013)
//!  ready --subscribe{id}--> the operation `id` runs --next*, then error or complete--> `id` is free
//!        --complete{id}---> the operation `id` is aborted, its queued messages are discarded
//! any state --protocol error--> closed (44xx); --no pong, or no reading for 30 s--> dropped
//! ```
//!
//! Invariants:
//! - The session's task alone reads and writes the socket; operations run in tasks of their own.
//! - A session never outlives its token: the deadline is reset after each event.
//! - What a client sends is charged to its user, and while too little is left the socket is not read:
//!   messages that begin no operation, such as pings, would otherwise take the processor for nothing.
//!   Before there is a user, the socket has little to send.
//! - When the session ends, its operations are aborted: none runs for a client that has disconnected.

use std::{borrow::Cow, sync::Arc, time::Duration};

use axum::{
    Error,
    extract::ws::{CloseFrame, Message, WebSocket},
};
use bytes::Bytes;
use quartet_auth::{Actor, jwt::JwtError};
use quartet_common::problem::{FieldError, Problem};
use serde_json::{Map, Value};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{
    message::{self, ClientMessage},
    operations::Operations,
};
use crate::{
    auth,
    config::GraphQl as Settings,
    graphql::{
        budget::{User, units_of_bytes},
        transport::{
            execution::Operation, request::GraphQlRequest, response::GraphQlResponse,
            state::GraphQlState,
        },
    },
    problems::graphql as problems,
};

/// A client that reads nothing for this long is considered disconnected.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a socket that is closed waits for the other side to close, too.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// What a client may send before it is authenticated, in the units of the budget: several times the
/// longest token.
const MAX_EARLY_UNITS: u32 = 1000;
/// Timers are set at most a year ahead: an expiry in the far future overflows them.
const MAX_LIFETIME_MS: u64 = 365 * 24 * 3600 * 1000;

/// Code and reason of a close frame.
type Close = (u16, Cow<'static, str>);

const GOING_AWAY: Close = (1001, Cow::Borrowed("The server is shutting down"));
const TOO_BIG: Close = (1009, Cow::Borrowed("The message is too big"));
const TRY_AGAIN_LATER: Close = (1013, Cow::Borrowed("Try again later"));
const TOO_MANY_SOCKETS: Close = (1013, Cow::Borrowed("Too many sockets of this user"));
const BAD_REQUEST: u16 = 4400;
const TOO_MUCH_EARLY: Close = (
    BAD_REQUEST,
    Cow::Borrowed("Too many messages before connection_init"),
);
const NOT_TEXT: Close = (BAD_REQUEST, Cow::Borrowed("Messages must be text"));
/// The client may try again with another token. The protocol names it for a socket that is not
/// acknowledged, and clients do not repeat it with the same token, as they would 4403.
const UNAUTHORIZED: u16 = 4401;
const NO_INIT: Close = (UNAUTHORIZED, Cow::Borrowed("Unauthorized"));
const WRONG_PROTOCOL: Close = (4406, Cow::Borrowed("Subprotocol not acceptable"));
const INIT_TIMEOUT: Close = (4408, Cow::Borrowed("Connection initialisation timeout"));
const DUPLICATE: Close = (4409, Cow::Borrowed("Subscriber for this id already exists"));
const TOO_MANY_INITS: Close = (4429, Cow::Borrowed("Too many initialisation requests"));

/// How a session ends: with a close frame, or without one because the client has disconnected.
type SessionEnd = Option<Close>;

/// A socket and the operations that run on it.
pub(super) struct Session {
    socket: WebSocket,
    state: GraphQlState,
    header_token: Result<String, JwtError>,
    is_initialized: bool,
    client: Option<Client>,
    /// Units of the messages before there was a client.
    early_units: u32,
    /// The next message is not read before.
    read_at: Instant,
    operations: Operations,
}

/// Who authenticated the socket.
struct Client {
    actor: Actor,
    user: Arc<User>,
    /// Counts the socket as one of the user's.
    _socket: OwnedSemaphorePermit,
}

impl Session {
    pub(super) fn new(
        socket: WebSocket,
        state: GraphQlState,
        header_token: Result<String, JwtError>,
    ) -> Self {
        let operations = Operations::new(
            &state.app.ctx.config.graphql,
            state.app.ctx.metrics.graphql_queued_bytes.clone(),
        );
        Self {
            socket,
            state,
            header_token,
            is_initialized: false,
            client: None,
            early_units: 0,
            read_at: Instant::now(),
            operations,
        }
    }

    /// Runs until either side closes.
    pub(super) async fn run(mut self, has_protocol: bool) {
        let ended = if has_protocol {
            self.serve().await
        } else {
            Some(WRONG_PROTOCOL)
        };
        self.operations.abort_all();
        if let Some((code, reason)) = ended {
            let reason = reason.into_owned().into();
            // If the client has disconnected in the meantime, there is nothing left to do.
            let _ = self
                .send(Message::Close(Some(CloseFrame { code, reason })))
                .await;
        }
        // After a Close of the client this sends the answer (RFC 6455, 5.5.1). After our own it reads
        // what the client has sent before it saw it: unread bytes would reset the connection, and
        // the reset could overtake the frame (7.1.1).
        let rest = async { while let Some(Ok(_)) = self.socket.recv().await {} };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, rest).await;
    }

    async fn serve(&mut self) -> SessionEnd {
        let settings = self.settings();
        let init_timeout = Duration::from_secs(settings.init_timeout_seconds);
        let period = Duration::from_secs(settings.keep_alive_seconds);
        let mut deadline = Instant::now() + init_timeout;
        let mut keep_alive = tokio::time::interval_at(Instant::now() + period, period);
        let mut is_alive = true;
        loop {
            let is_paused = self.read_at > Instant::now();
            let done = tokio::select! {
                () = tokio::time::sleep_until(self.read_at), if is_paused => Ok(()),
                received = self.socket.recv(), if !is_paused => {
                    is_alive = true;
                    self.receive(received).await
                }
                outgoing = self.operations.next() => self.send_text(outgoing.text).await,
                _ = keep_alive.tick() => {
                    // Nothing since the last ping, not even its pong. A client that is not read cannot
                    // say anything.
                    if !std::mem::replace(&mut is_alive, is_paused) {
                        return None;
                    }
                    self.send(Message::Ping(Bytes::new())).await
                }
                () = tokio::time::sleep_until(deadline) => Err(Some(self.at_deadline())),
                () = self.state.app.base.shutdown.cancelled() => Err(Some(GOING_AWAY)),
            };
            if let Err(ended) = done {
                return ended;
            }
            if let Some(client) = &self.client {
                deadline = self.expiry(&client.actor);
            }
        }
    }

    fn at_deadline(&self) -> Close {
        match self.client {
            Some(_) => refused(&JwtError::Expired),
            None => INIT_TIMEOUT,
        }
    }

    async fn receive(
        &mut self,
        received: Option<Result<Message, Error>>,
    ) -> Result<(), SessionEnd> {
        if let Some(Ok(message)) = &received {
            self.charge(message)?;
        }
        match received {
            Some(Ok(Message::Text(text))) => {
                let message = ClientMessage::parse(&text)
                    .map_err(|reason| Some((BAD_REQUEST, reason.into())))?;
                self.handle(message).await
            }
            Some(Ok(Message::Binary(_))) => Err(Some(NOT_TEXT)),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            // By its text: axum hides the type of the error.
            Some(Err(error)) if error.to_string().contains("too long") => Err(Some(TOO_BIG)),
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(None),
        }
    }

    fn charge(&mut self, message: &Message) -> Result<(), SessionEnd> {
        let bytes = match message {
            Message::Text(text) => text.len(),
            Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
            Message::Close(_) => return Ok(()),
        };
        if let Some(client) = &self.client {
            self.read_at = Instant::now() + client.user.charge_message(bytes);
            return Ok(());
        }
        self.early_units = self.early_units.saturating_add(units_of_bytes(bytes));
        if self.early_units > MAX_EARLY_UNITS {
            return Err(Some(TOO_MUCH_EARLY));
        }
        Ok(())
    }

    async fn handle(&mut self, message: ClientMessage) -> Result<(), SessionEnd> {
        match message {
            ClientMessage::ConnectionInit { payload } => self.initialize(payload).await,
            ClientMessage::Ping { payload } => self.send_text(message::pong(payload)).await,
            ClientMessage::Pong { .. } => Ok(()),
            ClientMessage::Subscribe { id, payload } => self.subscribe(id, payload).await,
            ClientMessage::Complete { id } => {
                self.operations.abort(&id);
                Ok(())
            }
        }
    }

    async fn initialize(&mut self, payload: Option<Map<String, Value>>) -> Result<(), SessionEnd> {
        if std::mem::replace(&mut self.is_initialized, true) {
            return Err(Some(TOO_MANY_INITS));
        }
        let token = match message::token(payload.as_ref()) {
            Err(JwtError::Missing) => self.header_token.as_deref().map_err(JwtError::clone),
            given => given,
        };
        let verified = match token {
            Ok(token) => auth::actor_of_token(token, &self.state.app).await,
            Err(error) => Err(error),
        };
        let actor = verified.map_err(|error| Some(refused(&error)))?;
        let user = self.state.user(&actor);
        let user = user.map_err(|_| Some(TRY_AGAIN_LATER))?;
        let socket = user.socket().ok_or(Some(TOO_MANY_SOCKETS))?;
        self.operations.set_user(&user);
        self.client = Some(Client {
            actor,
            user,
            _socket: socket,
        });
        self.send_text(message::connection_ack()).await
    }

    async fn subscribe(&mut self, id: String, payload: Value) -> Result<(), SessionEnd> {
        let Some(client) = &self.client else {
            return Err(Some(NO_INIT));
        };
        if self.operations.contains(&id) {
            return Err(Some(DUPLICATE));
        }
        // Not `&self`: the socket cannot be shared between threads.
        let (state, running) = (&self.state, self.operations.len());
        match prepare(state, client, payload, running).await {
            Ok(operation) => self.operations.start(id, operation.stream(&self.state)),
            Err(response) => {
                let message = message::error(&id, &response);
                self.send_text(message).await?;
            }
        }
        Ok(())
    }

    fn expiry(&self, actor: &Actor) -> Instant {
        let now = self.state.app.ctx.clock.now().timestamp_millis();
        let left = actor.expires_at().saturating_mul(1000).saturating_sub(now);
        let left = u64::try_from(left).unwrap_or(0).min(MAX_LIFETIME_MS);
        Instant::now() + Duration::from_millis(left)
    }

    async fn send_text(&mut self, text: String) -> Result<(), SessionEnd> {
        self.send(Message::Text(text.into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), SessionEnd> {
        match tokio::time::timeout(SEND_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(None),
        }
    }

    fn settings(&self) -> &Settings {
        &self.state.app.ctx.config.graphql
    }
}

async fn prepare(
    state: &GraphQlState,
    client: &Client,
    payload: Value,
    running: usize,
) -> Result<Operation, GraphQlResponse> {
    let settings = &state.app.ctx.config.graphql;
    let limit = settings.max_subscriptions_per_socket;
    let request = if running < limit {
        GraphQlRequest::from_json(payload)
    } else {
        Err(too_many_operations(limit))
    };
    let request = request.map_err(|problem| GraphQlResponse::from_problem(&problem, settings))?;
    let user = Arc::clone(&client.user);
    let prepared = Operation::prepare(request, &client.actor, user, state).await;
    prepared.map_err(|rejected| rejected.into_response(settings))
}

/// The reason is what HTTP has as detail.
fn refused(error: &JwtError) -> Close {
    match error {
        JwtError::KeysUnavailable(_) => TRY_AGAIN_LATER,
        invalid => (UNAUTHORIZED, invalid.to_string().into()),
    }
}

fn too_many_operations(limit: usize) -> Problem {
    let kind = &problems::TOO_MANY_SUBSCRIPTIONS;
    let detail = format!("must be one of at most {limit} operations on this socket");
    Problem::new(kind).field(FieldError::body("/id", kind.code, detail))
}
