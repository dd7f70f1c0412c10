//! Refuses clients by their IP address.

use std::sync::Arc;

use super::context::Flow;
use crate::{error, request::RequestFacts, routing::ClientNetworks};

#[derive(Debug)]
pub(super) struct NetworkAccess {
    networks: Arc<ClientNetworks>,
}

impl NetworkAccess {
    pub(super) fn new(networks: Arc<ClientNetworks>) -> Self {
        Self { networks }
    }

    pub(super) fn on_request(&self, facts: &RequestFacts<'_>) -> Flow {
        if self.networks.admit(facts.client_ip) {
            return Flow::Continue;
        }
        Flow::Reply(error::network_not_allowed().into())
    }
}
