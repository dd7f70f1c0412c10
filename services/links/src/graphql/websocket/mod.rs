//! Sockets that speak graphql-transport-ws.

mod message;
mod session;

use axum::{
    extract::{WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    response::Response,
};
use http::{HeaderMap, HeaderValue, header};
use quartet_common::problem::{FieldError, Problem};

use self::session::Session;
use crate::{error::kinds, state::AppState};

const PROTOCOL: &str = "graphql-transport-ws";

/// Takes the connection over. A token in the header is used unless `connection_init` has one.
pub(super) fn upgrade(upgrade: WebSocketUpgrade, headers: &HeaderMap, state: AppState) -> Response {
    let token = quartet_auth::bearer_token(headers).ok().map(str::to_owned);
    // Escapes in JSON make a document longer.
    let limit = state
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
            let speaks = socket
                .protocol()
                .is_some_and(|protocol| protocol == PROTOCOL);
            Session::new(socket, state, token).run(speaks).await;
        })
}

/// An upgrade that is none.
pub(super) fn refused(rejection: &WebSocketUpgradeRejection) -> Problem {
    let detail = "must be a WebSocket handshake of version 13 by GET";
    Problem::new(&kinds::INVALID_UPGRADE)
        .detail(rejection.to_string())
        .field(FieldError::parameter("upgrade", "invalid_upgrade", detail))
        .header(header::UPGRADE, HeaderValue::from_static("websocket"))
}
