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
use quartet_telemetry::REQUEST;

use self::session::Session;
use super::state::GraphQlState;
use crate::{config::Config, problems};

const PROTOCOL: &str = "graphql-transport-ws";

/// Completes the handshake and runs the session. A token in the `Authorization` header is used
/// unless `connection_init` has one.
pub(super) fn upgrade(
    upgrade: WebSocketUpgrade,
    headers: &HeaderMap,
    state: GraphQlState,
) -> Response {
    let token = quartet_auth::bearer_token(headers).map(str::to_owned);
    let request = quartet_telemetry::current_request();
    // What the body of a POST may have.
    let limit = state.app.ctx.config.server.body_limit_bytes;
    upgrade
        .protocols([PROTOCOL])
        .max_message_size(limit)
        .max_frame_size(limit)
        .on_upgrade(move |socket| async move {
            let has_protocol = socket
                .protocol()
                .is_some_and(|protocol| protocol == PROTOCOL);
            let session = Session::new(socket, state, token).run(has_protocol);
            // Errors have the id of the handshake, which is in the log.
            match request {
                Some(request) => REQUEST.scope(request, session).await,
                None => session.await,
            }
        })
}

/// Rejects pages of other sites: a browser lets any page open a WebSocket, with the credentials that it
/// holds for this host. Programs that are not browsers send no `Origin`.
///
/// # Errors
/// 403 `origin_not_allowed`.
pub(super) fn check_origin(headers: &HeaderMap, config: &Config) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let origin = origin.to_str().unwrap_or_default();
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let is_own = authority.is_some() && authority == host;
    let short_url = config.public.short_url.origin().ascii_serialization();
    let is_allowed = || config.graphql.allowed_origins.iter().any(|it| it == origin);
    if is_own || origin == short_url || is_allowed() {
        return Ok(());
    }
    let kind = &problems::ORIGIN_NOT_ALLOWED;
    let detail = "must be the origin of this host or one that is configured";
    Err(Problem::new(kind).field(FieldError::parameter("origin", kind.code, detail)))
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
