//! Pages that the gateway serves itself: health, the merged document, the API documentation.

mod ask;
pub(crate) mod deep_health;
mod docs;
pub(crate) mod openapi;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, header};
use quartet_common::problem::Problem;

use crate::{error, reply::Reply, routing::GatewayPage, snapshot::Snapshot};
use openapi::Documents;

const HEALTH: &[u8] = br#"{"status":"ok"}"#;

/// # Errors
/// 404 for a file of the documentation that does not exist, 503 while no service has returned its
/// document yet.
pub(crate) async fn render(
    serve: GatewayPage,
    path: &str,
    documents: &Documents,
    snapshot: &Arc<Snapshot>,
) -> Result<Reply, Problem> {
    match serve {
        GatewayPage::Health => Ok(Reply::ok(
            HeaderValue::from_static("application/json"),
            Bytes::from_static(HEALTH),
        )
        .header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))),
        GatewayPage::Openapi => documents.render(path, snapshot).await,
        GatewayPage::Docs => docs::render(path),
        // They need more of the request than its path: the chain or the login answers.
        GatewayPage::Login | GatewayPage::AuthVerify => Err(error::no_route()),
    }
}
