//! GraphQL by POST and by WebSocket (graphql-transport-ws).

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http::HeaderValue;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::client::{Client, Response};

pub(crate) const PATH: &str = "/v1/links/graphql";
const PATIENCE: Duration = Duration::from_secs(20);

/// Posts a document.
pub(crate) async fn post(client: &Client, query: &str, variables: &Value) -> Response {
    client
        .post(PATH, &json!({ "query": query, "variables": variables }))
        .await
}

/// The data of a document that must have no errors.
pub(crate) async fn data(client: &Client, query: &str, variables: &Value) -> Value {
    let answer = post(client, query, variables).await.json_of(200);
    assert!(answer.get("errors").is_none(), "{query}: {answer:#}");
    answer["data"].clone()
}

/// The errors of a document that must have some.
pub(crate) async fn errors(client: &Client, query: &str, variables: &Value) -> Vec<Value> {
    let answer = post(client, query, variables).await;
    assert!(answer.status < 500, "{query}: {answer:?}");
    let body = answer.json();
    body["errors"]
        .as_array()
        .filter(|errors| !errors.is_empty())
        .cloned()
        .unwrap_or_else(|| {
            panic!("{query}: no errors in {body:#}");
        })
}

/// A link as returned by `createLink`.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) id: String,
    pub(crate) slug: String,
}

impl Link {
    /// The path of the redirect.
    pub(crate) fn path(&self) -> String {
        format!("/s/{}", self.slug)
    }
}

pub(crate) const CREATE: &str = "mutation Create($input: CreateLinkInput!) {
  createLink(input: $input) { id slug url }
}";
pub(crate) const TOTALS: &str =
    "query Totals($id: ID!) { link(id: $id) { id clicks { total unique } } }";

pub(crate) async fn create_link(client: &Client, url: &str) -> Link {
    let data = data(client, CREATE, &json!({ "input": { "url": url } })).await;
    let created = &data["createLink"];
    let text = |name: &str| {
        let value = created[name].as_str();
        value
            .unwrap_or_else(|| panic!("no {name}: {created:#}"))
            .to_owned()
    };
    assert_eq!(text("url"), url);
    Link {
        id: text("id"),
        slug: text("slug"),
    }
}

/// Total and unique clicks of a link.
pub(crate) async fn clicks(client: &Client, link: &Link) -> (u64, u64) {
    let data = data(client, TOTALS, &json!({ "id": link.id })).await;
    let clicks = &data["link"]["clicks"];
    let number = |name: &str| {
        let value = clicks[name].as_u64();
        value.unwrap_or_else(|| panic!("no {name}: {data:#}"))
    };
    (number("total"), number("unique"))
}

/// A WebSocket with the graphql-transport-ws protocol.
pub(crate) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    /// Connects without sending a message.
    pub(crate) async fn open(client: &Client) -> Self {
        let url = format!("ws://{}{PATH}", client.server());
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert(
            "sec-websocket-protocol",
            HeaderValue::from_static("graphql-transport-ws"),
        );
        let (stream, response) = tokio_tungstenite::connect_async(request).await.unwrap();
        let chosen = response.headers().get("sec-websocket-protocol");
        assert_eq!(chosen.unwrap(), "graphql-transport-ws");
        Self { stream }
    }

    /// Connects and sends the token of the client in `connection_init`, as browsers have to.
    pub(crate) async fn authenticated(client: &Client) -> Self {
        let mut socket = Self::open(client).await;
        let authorization = format!("Bearer {}", client.token());
        let payload = json!({ "Authorization": authorization });
        socket
            .send(&json!({ "type": "connection_init", "payload": payload }))
            .await;
        assert_eq!(socket.receive().await["type"], "connection_ack");
        socket
    }

    pub(crate) async fn subscribe(&mut self, id: &str, query: &str, variables: &Value) {
        let payload = json!({ "query": query, "variables": variables });
        self.send(&json!({ "type": "subscribe", "id": id, "payload": payload }))
            .await;
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.stream
            .send(Message::text(message.to_string()))
            .await
            .unwrap();
    }

    /// The next message. Pings are answered in between.
    pub(crate) async fn receive(&mut self) -> Value {
        match self.next().await {
            Ok(message) => message,
            Err(close) => panic!("the socket was closed: {close:?}"),
        }
    }

    /// The next close frame. Messages before it are skipped.
    pub(crate) async fn closed(&mut self) -> Option<CloseFrame> {
        loop {
            if let Err(close) = self.next().await {
                return close;
            }
        }
    }

    async fn next(&mut self) -> Result<Value, Option<CloseFrame>> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.stream.next())
                .await
                .unwrap_or_else(|_| panic!("no message within {PATIENCE:?}"));
            match message {
                Some(Ok(Message::Text(text))) => {
                    let value: Value = serde_json::from_str(&text).unwrap();
                    match value["type"].as_str() {
                        Some("ping") => self.send(&json!({ "type": "pong" })).await,
                        Some("pong") => {}
                        _ => return Ok(value),
                    }
                }
                Some(Ok(Message::Close(frame))) => return Err(frame),
                None | Some(Err(_)) => return Err(None),
                Some(Ok(_)) => {}
            }
        }
    }

    /// Follows a link until its subscription reports a click; returns the event and the number
    /// of redirects. The first clicks may precede the subscription.
    pub(crate) async fn click_until_reported(
        &mut self,
        id: &str,
        visitor: &Client,
        link: &Link,
    ) -> (Value, u64) {
        for visits in 1..=20 {
            assert_eq!(visitor.get(&link.path()).await.status, 302);
            let message = tokio::time::timeout(Duration::from_secs(2), self.receive());
            if let Ok(message) = message.await {
                return (data_of(&message, id), visits);
            }
        }
        panic!("20 clicks and no event");
    }
}

fn data_of(message: &Value, id: &str) -> Value {
    assert_eq!(
        (&message["type"], &message["id"]),
        (&json!("next"), &json!(id)),
        "{message}"
    );
    let payload = &message["payload"];
    assert!(payload.get("errors").is_none(), "{message:#}");
    payload["data"].clone()
}
