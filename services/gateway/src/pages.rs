//! What the gateway answers itself: health, the merged document, the documentation.

mod docs;
pub(crate) mod openapi;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use quartet_common::problem::Problem;

use crate::{
    config::model::Serve,
    state::{Snapshot, State},
};

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
}

impl Page {
    fn ok(content_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::OK,
            headers: vec![(header::CONTENT_TYPE, content_type)],
            body: body.into(),
        }
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// # Errors
/// 404 for a file of the documentation that does not exist, 503 while no service has
/// given its document yet.
pub(crate) async fn answer(
    serve: Serve,
    path: &str,
    state: &State,
    snapshot: &Snapshot,
) -> Result<Page, Problem> {
    match serve {
        Serve::Health => Ok(Page::ok(
            HeaderValue::from_static("application/json"),
            Bytes::from_static(br#"{"status":"ok"}"#),
        )
        .with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))),
        Serve::Openapi => state.documents.page(path, snapshot).await,
        Serve::Docs => docs::page(path),
    }
}
