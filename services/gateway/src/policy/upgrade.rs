//! Refuses a WebSocket where the route does not allow it, of pages that are not allowed, of versions
//! that do not exist, and handshakes that remove a part of themselves.

use std::sync::Arc;

use http::header;

use super::context::Flow;
use crate::{
    error,
    request::{RequestFacts, WebSocket},
    routing::{Cors, Route},
};

#[derive(Debug)]
pub(super) struct Upgrade {
    allowed: bool,
    cors: Option<Arc<Cors>>,
}

impl Upgrade {
    pub(super) fn new(route: &Route) -> Self {
        Self {
            allowed: route.upgrade,
            cors: route.guards.cors.clone(),
        }
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
            WebSocket::Handshake if !self.admits_origin(facts) => {
                Flow::Reply(error::origin_not_allowed().into())
            }
            _ => Flow::Continue,
        }
    }

    /// Browsers open a WebSocket for pages of any origin, with the cookies of the host, and CORS does
    /// not apply: only this check keeps another site from using the session of its visitor. Clients
    /// that are no browsers send no `Origin`.
    fn admits_origin(&self, facts: &RequestFacts<'_>) -> bool {
        let Some(sent) = facts.headers.first(&header::ORIGIN) else {
            return true;
        };
        if facts.headers.nth(&header::ORIGIN, 1).is_some() {
            return false;
        }
        let Ok(sent) = std::str::from_utf8(sent) else {
            return false;
        };
        let is_listed = self.cors.as_ref().is_some_and(|cors| cors.allows(sent));
        is_listed || facts.is_of_same_host(sent)
    }
}
