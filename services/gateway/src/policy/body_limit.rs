//! Refuses requests whose body is too large: by its `Content-Length`, and as it arrives.

use super::context::Flow;
use crate::{error, request::RequestFacts};

#[derive(Debug)]
pub(super) struct BodyLimit {
    bytes: u64,
}

impl BodyLimit {
    pub(super) fn new(bytes: u64) -> Self {
        Self { bytes }
    }

    pub(super) fn on_request(&self, facts: &RequestFacts<'_>) -> Flow {
        self.check(facts.headers.content_length().unwrap_or(0))
    }

    /// `received`: of the body so far.
    pub(super) fn on_body(&self, received: u64) -> Flow {
        self.check(received)
    }

    fn check(&self, bytes: u64) -> Flow {
        if bytes > self.bytes {
            return Flow::Reply(error::body_too_large(self.bytes).into());
        }
        Flow::Continue
    }
}
