//! Sockets with the subprotocol graphql-transport-ws.

mod message;
mod operations;
mod session;

use axum::{
    extract::{WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    response::Response,
};
use http::{HeaderMap, HeaderValue, header};
use quartet_common::problem::{FieldError, Problem};

use self::session::Session;
use super::state::GraphQlState;
use crate::problems;

const PROTOCOL: &str = "graphql-transport-ws";

/// Completes the handshake and runs the session. A token in the `Authorization` header is used
/// unless `connection_init` has one.
pub(super) fn upgrade(
    upgrade: WebSocketUpgrade,
    headers: &HeaderMap,
    state: GraphQlState,
) -> Response {
    let token = quartet_auth::bearer_token(headers).ok().map(str::to_owned);
    // JSON escapes can double the size of a document; 4 KiB are for the rest of the message.
    let limit = state
        .app
        .ctx
        .config
        .graphql
        .max_document_bytes
        .saturating_mul(2)
        .saturating_add(4096);
    upgrade
        .protocols([PROTOCOL])
        .max_message_size(limit)
        .max_frame_size(limit)
        .on_upgrade(move |socket| async move {
            let has_protocol = socket
                .protocol()
                .is_some_and(|protocol| protocol == PROTOCOL);
            Session::new(socket, state, token).run(has_protocol).await;
        })
}

/// The problem of a request with `Upgrade` that is not a handshake.
pub(super) fn invalid_upgrade(rejection: &WebSocketUpgradeRejection) -> Problem {
    let kind = &problems::INVALID_UPGRADE;
    let detail = "must be a WebSocket handshake of version 13 with the method GET";
    Problem::new(kind)
        .detail(rejection.to_string())
        .field(FieldError::parameter("upgrade", kind.code, detail))
        .header(header::UPGRADE, HeaderValue::from_static("websocket"))
}
