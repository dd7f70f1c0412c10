//! Answers with 503 while a route is being worked on, except to those who work on it.

use std::sync::Arc;

use super::context::Flow;
use crate::{error, request::RequestFacts, routing::Maintenance};

#[derive(Debug)]
pub(super) struct MaintenanceMode {
    settings: Arc<Maintenance>,
}

impl MaintenanceMode {
    pub(super) fn new(settings: Arc<Maintenance>) -> Self {
        Self { settings }
    }

    pub(super) fn on_request(&self, facts: &RequestFacts<'_>) -> Flow {
        let settings = &self.settings;
        if settings.allowed.contains(facts.client_ip) {
            return Flow::Continue;
        }
        let problem = error::maintenance(settings.text.as_deref(), settings.retry_after_seconds);
        Flow::Reply(problem.into())
    }
}
