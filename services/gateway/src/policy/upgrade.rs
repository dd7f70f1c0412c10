//! Refuses a WebSocket where the route does not allow it, versions that do not exist, and handshakes
//! that remove a part of themselves.

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
            WebSocket::Handshake | WebSocket::Severed if !self.allowed => {
                Flow::Reply(error::upgrade_refused().into())
            }
            WebSocket::OtherVersion if self.allowed => {
                Flow::Reply(error::websocket_version().into())
            }
            WebSocket::Severed if self.allowed => {
                let problem =
                    error::malformed("Connection names a header of the WebSocket handshake");
                Flow::Reply(problem.into())
            }
            _ => Flow::Continue,
        }
    }
}
