//! Sets and removes headers of requests and responses, as the route says.

use http::{HeaderName, HeaderValue};

use super::context::{Edit, PolicyContext, ResponseHead};
use crate::{
    request::RequestFacts,
    routing::{Route, Template},
};

#[derive(Debug)]
pub(super) struct HeaderEdits {
    request: Vec<(HeaderName, Option<Template>)>,
    response: Vec<(HeaderName, Option<HeaderValue>)>,
}

impl HeaderEdits {
    pub(super) fn new(route: &Route) -> Self {
        Self {
            request: route.request_headers.clone(),
            response: route.response_headers.clone(),
        }
    }

    pub(super) fn on_request(&self, facts: &RequestFacts<'_>, context: &mut PolicyContext) {
        for (name, template) in &self.request {
            let value = template
                .as_ref()
                .and_then(|template| template.render(facts));
            context.edits.push(match value {
                Some(value) => Edit::Set(name.clone(), value),
                // The client's own value must not replace one that cannot be set.
                None => Edit::Remove(name.clone()),
            });
        }
    }

    /// 1xx responses are not final, and 101 starts another protocol.
    pub(super) fn on_response(&self, response: &mut dyn ResponseHead) {
        if response.status().is_informational() {
            return;
        }
        for (name, value) in &self.response {
            match value {
                Some(value) => response.set(name.clone(), value.clone()),
                None => response.remove(name),
            }
        }
    }
}
