//! Chooses the requests of which another upstream gets a copy. `edge` makes the copy: of the request
//! as its upstream receives it, with the same headers, credentials and identity included.

use std::sync::Arc;

use super::{context::PolicyContext, shares::Shares};
use crate::{
    request::{RequestFacts, WebSocket},
    routing::MirrorRule,
    upstream::Mirror,
};

#[derive(Debug)]
pub(super) struct Mirroring {
    mirror: Arc<Mirror>,
    /// Of the requests with a copy, and of those without.
    shares: Shares,
}

impl Mirroring {
    pub(super) fn new(rule: &MirrorRule, mirror: Arc<Mirror>) -> Self {
        Self {
            mirror,
            shares: Shares::new([rule.percent, 100 - rule.percent]),
        }
    }

    /// Of a WebSocket nothing is copied: its messages would be answered twice.
    pub(super) fn on_request(&self, facts: &RequestFacts<'_>, context: &mut PolicyContext) {
        if facts.websocket != WebSocket::No || self.shares.next() != 0 {
            return;
        }
        let length = facts.headers.content_length().unwrap_or(0);
        if length > self.mirror.max_body_bytes as u64 {
            self.mirror.skip();
            return;
        }
        context.mirror = Some(Arc::clone(&self.mirror));
    }
}
