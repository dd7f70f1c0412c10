//! A client of graphql-transport-ws that sends and receives single messages.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use super::within_deadline;

pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::open_with(
            address,
            &[("sec-websocket-protocol", "graphql-transport-ws")],
        )
        .await
    }

    pub(crate) async fn open_with(address: SocketAddr, headers: &[(&'static str, &str)]) -> Self {
        let mut request = format!("ws://{address}/v1/links/graphql")
            .into_client_request()
            .unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        Self(within_deadline(connect_async(request)).await.unwrap().0)
    }

    pub(crate) async fn send_json(&mut self, message: Value) {
        self.send(Message::text(message.to_string())).await;
    }

    pub(crate) async fn send(&mut self, message: Message) {
        within_deadline(self.0.send(message)).await.unwrap();
    }

    /// The next message that is not a ping or a pong.
    pub(crate) async fn receive(&mut self) -> Value {
        match self.next().await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?} is not text"),
        }
    }

    /// The code of the close frame.
    pub(crate) async fn close_code(&mut self) -> u16 {
        self.close().await.0
    }

    /// Code and reason of the close frame.
    pub(crate) async fn close(&mut self) -> (u16, String) {
        match self.next().await {
            Message::Close(Some(frame)) => (frame.code.into(), frame.reason.to_string()),
            other => panic!("{other:?} is not a close frame"),
        }
    }

    pub(crate) async fn init(&mut self, token: &str) {
        let payload = json!({"authorization": format!("Bearer {token}")});
        self.send_json(json!({"type": "connection_init", "payload": payload}))
            .await;
        assert_eq!(self.receive().await, json!({"type": "connection_ack"}));
    }

    /// Whether the next message acknowledges `connection_init`, rather than closes the socket.
    pub(crate) async fn is_acknowledged(&mut self) -> bool {
        matches!(self.next().await, Message::Text(_))
    }

    pub(crate) async fn subscribe(&mut self, id: &str, query: &str) {
        self.send_json(json!({"type": "subscribe", "id": id, "payload": {"query": query}}))
            .await;
    }

    /// Subscribes to the clicks of a link. Does not wait until the subscription runs.
    pub(crate) async fn subscribe_clicks(&mut self, id: &str, link: &str) {
        let query = format!(
            "subscription {{ clicks(linkId: \"{link}\") {{ id at country referrerHost device bot botReason \
             totals {{ total people unique bots }} }} }}"
        );
        self.subscribe(id, &query).await;
    }

    /// The data of the next message, a `next` of this operation without errors.
    pub(crate) async fn next_data(&mut self, id: &str) -> Value {
        let mut message = self.receive().await;
        assert_eq!(
            (&message["type"], &message["id"]),
            (&json!("next"), &json!(id)),
            "{message}"
        );
        assert_eq!(message["payload"].get("errors"), None, "{message}");
        message["payload"]["data"].take()
    }

    async fn next(&mut self) -> Message {
        loop {
            match within_deadline(self.0.next())
                .await
                .expect("the socket is open")
                .unwrap()
            {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }
}
