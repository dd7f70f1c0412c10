//! Answers every request of a route with the same response.

use super::context::Flow;
use crate::{
    reply::{GatewayResponse, Reply},
    routing::FixedResponse,
};

#[derive(Debug)]
pub(super) struct Respond(FixedResponse);

impl Respond {
    pub(super) fn new(response: FixedResponse) -> Self {
        Self(response)
    }

    pub(super) fn on_request(&self) -> Flow {
        let FixedResponse {
            status,
            content_type,
            body,
        } = &self.0;
        let mut reply = Reply::ok(content_type.clone(), body.clone()).status(*status);
        if body.is_empty() {
            reply.headers.clear();
        }
        Flow::Reply(Box::new(GatewayResponse::Reply(reply)))
    }
}
