//! Refuses requests whose `Content-Length` is too large, and upgrades the route does not allow.
//!
//! Bodies without a length are counted as they arrive; see `edge::request_body`.

use super::context::{Flow, Policy, RequestView};
use crate::{error, request::Headers};

#[derive(Debug)]
pub(super) struct BodyLimit;

impl Policy for BodyLimit {
    async fn on_request(&self, request: &mut RequestView<'_>) -> Flow {
        if request.upgrade && !request.route.upgrade {
            return Flow::Break(Box::new(error::upgrade_refused()));
        }
        let limit = request.route.body_limit_bytes;
        let headers: &dyn Headers = &request.head.headers;
        let length = headers.content_length();
        if length.is_some_and(|length| length > limit) {
            return Flow::Break(Box::new(error::body_too_large(limit)));
        }
        Flow::Continue(())
    }
}
