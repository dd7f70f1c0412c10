//! Refuses requests whose `Content-Length` is too large.
//!
//! Bodies without a length are counted as they arrive; see `edge::request_body`.

use super::context::Flow;
use crate::{error, request::Facts};

#[derive(Debug)]
pub(super) struct BodyLimit {
    bytes: u64,
}

impl BodyLimit {
    pub(super) fn new(bytes: u64) -> Self {
        Self { bytes }
    }

    pub(super) fn on_request(&self, facts: &Facts<'_>) -> Flow {
        let length = facts.headers.content_length();
        if length.is_some_and(|length| length > self.bytes) {
            return Flow::Reply(error::body_too_large(self.bytes).into());
        }
        Flow::Continue
    }
}
