//! Refuses a WebSocket where the route does not allow it, and versions that do not exist.

use super::context::Flow;
use crate::{
    error,
    request::{RequestFacts, WebSocket},
};

#[derive(Debug)]
pub(super) struct Upgrade {
    allowed: bool,
}

impl Upgrade {
    pub(super) fn new(allowed: bool) -> Self {
        Self { allowed }
    }

    pub(super) fn on_request(&self, facts: &RequestFacts<'_>) -> Flow {
        match facts.websocket {
            WebSocket::Handshake if !self.allowed => Flow::Reply(error::upgrade_refused().into()),
            WebSocket::OtherVersion if self.allowed => {
                Flow::Reply(error::websocket_version().into())
            }
            _ => Flow::Continue,
        }
    }
}
