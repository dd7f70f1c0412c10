//! Sets, adds and removes headers of requests and responses, as the route says.

use super::context::{Edit, PolicyContext, ResponseHead};
use crate::{
    request::RequestFacts,
    routing::{HeaderEdit, Route, Template},
};

#[derive(Debug)]
pub(super) struct HeaderEdits {
    request: Vec<HeaderEdit<Template>>,
    response: Vec<HeaderEdit<http::HeaderValue>>,
}

impl HeaderEdits {
    pub(super) fn new(route: &Route) -> Self {
        Self {
            request: route.request_headers.clone(),
            response: route.response_headers.clone(),
        }
    }

    pub(super) fn on_request(&self, facts: &RequestFacts<'_>, context: &mut PolicyContext) {
        for edit in &self.request {
            context.edits.push(match edit {
                HeaderEdit::Set(name, template) => match template.render(facts) {
                    Some(value) => Edit::Set(name.clone(), value),
                    // The client's own value must not replace one that cannot be set.
                    None => Edit::Remove(name.clone()),
                },
                HeaderEdit::Remove(name) => Edit::Remove(name.clone()),
                HeaderEdit::Add(name, template) => match template.render(facts) {
                    Some(value) => Edit::Add(name.clone(), value),
                    None => continue,
                },
                HeaderEdit::SetMissing(name, template) => match template.render(facts) {
                    Some(value) => Edit::SetMissing(name.clone(), value),
                    None => continue,
                },
            });
        }
    }

    /// 1xx responses are not final, and 101 starts another protocol.
    pub(super) fn on_response(&self, response: &mut dyn ResponseHead) {
        if response.status().is_informational() {
            return;
        }
        for edit in &self.response {
            match edit {
                HeaderEdit::Set(name, value) => response.set(name.clone(), value.clone()),
                HeaderEdit::Remove(name) => response.remove(name),
                HeaderEdit::Add(name, value) => response.append(name.clone(), value.clone()),
                HeaderEdit::SetMissing(name, value) => response.set_missing(name, value),
            }
        }
    }
}
