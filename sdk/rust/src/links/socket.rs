//! A WebSocket with the graphql-transport-ws protocol.

use std::time::Duration;

use cynic::{GraphQlError, GraphQlResponse};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::execute::{self, Extensions, PATH};
use crate::error::Error;
use crate::secret::Secret;
use crate::sender::Response;

const PROTOCOL: HeaderValue = HeaderValue::from_static("graphql-transport-ws");
/// Timeout of the handshake up to `connection_ack`.
const HANDSHAKE: Duration = Duration::from_secs(15);
/// The server sends a ping every 15 seconds. A longer silence means that the connection is dead.
const SILENCE: Duration = Duration::from_secs(50);
/// The close code for a token that is invalid or has expired.
const UNAUTHORIZED: u16 = 4401;

pub(super) struct Socket {
    stream: WebSocketStream<reqwest::Upgraded>,
}

/// Why a socket was closed.
#[derive(Debug)]
pub(super) enum Closed {
    /// The token is invalid or has expired; a new one may be accepted.
    Unauthorized,
    /// A retry may succeed.
    Transient(Error),
    /// A retry would be refused again.
    Refused(Error),
}

/// The next event of a subscription.
pub(super) enum Next<D> {
    Data(D),
    Complete,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Incoming<D> {
    ConnectionAck,
    Next {
        payload: GraphQlResponse<D, Extensions>,
    },
    Error {
        payload: Vec<GraphQlError<Extensions>>,
    },
    Complete,
    Ping,
    #[serde(other)]
    Other,
}

impl Socket {
    /// Connects through the HTTP client, to use the same TLS and name resolution.
    pub(super) async fn connect(
        http: &reqwest::Client,
        base: &str,
        token: Option<&Secret>,
    ) -> Result<Self, Closed> {
        let greeting = async {
            let stream = handshake(http, base).await?;
            let mut socket = Self { stream };
            socket.initialize(token).await?;
            Ok(socket)
        };
        timeout(HANDSHAKE, greeting)
            .await
            .unwrap_or_else(|_| Err(transient("the handshake timed out")))
    }

    async fn initialize(&mut self, token: Option<&Secret>) -> Result<(), Closed> {
        let payload = token.map(|token| {
            let authorization = format!("Bearer {}", token.expose());
            json!({ "authorization": authorization })
        });
        self.send(&json!({ "type": "connection_init", "payload": payload }))
            .await?;
        match self.receive::<Value>().await? {
            Incoming::ConnectionAck => Ok(()),
            _ => Err(Closed::Refused(Error::Answer(
                "connection_ack is missing".into(),
            ))),
        }
    }

    /// Starts the only subscription of this socket.
    pub(super) async fn subscribe(&mut self, payload: &Value) -> Result<(), Closed> {
        self.send(&json!({ "type": "subscribe", "id": "1", "payload": payload }))
            .await
    }

    pub(super) async fn next<D: DeserializeOwned>(&mut self) -> Result<Next<D>, Closed> {
        loop {
            let received = timeout(SILENCE, self.receive()).await;
            match received.unwrap_or_else(|_| Err(transient("the server stopped sending")))? {
                Incoming::Next { payload } => {
                    let data = execute::result(payload).map_err(Closed::Refused)?;
                    return Ok(Next::Data(data));
                }
                Incoming::Error { payload } => {
                    let error = payload.into_iter().next().map(execute::problem);
                    let error = error.map_or_else(|| Error::Answer("an error".into()), Error::from);
                    return Err(Closed::Refused(error));
                }
                Incoming::Complete => return Ok(Next::Complete),
                Incoming::Ping => self.send(&json!({ "type": "pong" })).await?,
                Incoming::ConnectionAck | Incoming::Other => {}
            }
        }
    }

    async fn send(&mut self, message: &Value) -> Result<(), Closed> {
        let message = Message::text(message.to_string());
        self.stream.send(message).await.map_err(transient)
    }

    /// The next message of the protocol. WebSocket pings are answered in between.
    async fn receive<D: DeserializeOwned>(&mut self) -> Result<Incoming<D>, Closed> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text)
                        .map_err(|error| Closed::Refused(Error::Answer(error.to_string())));
                }
                Some(Ok(Message::Close(Some(frame)))) => {
                    let code = u16::from(frame.code);
                    return Err(match code {
                        UNAUTHORIZED => Closed::Unauthorized,
                        4400..=4499 => Closed::Refused(Error::Answer(frame.reason.to_string())),
                        _ => transient(frame.reason),
                    });
                }
                Some(Ok(Message::Close(None))) | None => {
                    return Err(transient("the connection was closed"));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(transient(error)),
            }
        }
    }
}

fn transient(cause: impl std::fmt::Display) -> Closed {
    Closed::Transient(Error::broken(cause))
}

async fn handshake(
    http: &reqwest::Client,
    base: &str,
) -> Result<WebSocketStream<reqwest::Upgraded>, Closed> {
    let key = generate_key();
    let request = http
        .get(format!("{base}{PATH}"))
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL)
        .header(header::SEC_WEBSOCKET_KEY, &key);
    let response = request.send().await.map_err(lost)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refused(response).await);
    }
    let accepted = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
    let expected = derive_accept_key(key.as_bytes());
    if accepted.is_none_or(|found| found.as_bytes() != expected.as_bytes()) {
        let what = "not a WebSocket handshake".to_owned();
        return Err(Closed::Refused(Error::Answer(what)));
    }
    let stream = response.upgrade().await.map_err(lost)?;
    Ok(WebSocketStream::from_raw_socket(stream, Role::Client, None).await)
}

async fn refused(response: reqwest::Response) -> Closed {
    let response = Response {
        status: response.status(),
        headers: response.headers().clone(),
        body: response.bytes().await.unwrap_or_default(),
        after_loss: false,
    };
    let error = Error::from(response.problem());
    if response.is_transient() {
        Closed::Transient(error)
    } else {
        Closed::Refused(error)
    }
}

fn lost(error: reqwest::Error) -> Closed {
    Closed::Transient(error.into())
}
