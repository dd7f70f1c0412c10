//! The policies of one route, chosen once from the configuration.
//!
//! Steps run in this order, and the first that replies ends the chain:
//!
//! 1. `upgrade`: may the request become a WebSocket
//! 2. `body_limit`: is the announced body too large
//! 3. `auth`: the access token. A refusal is deferred until the limits have counted, against the
//!    client IP: otherwise guessing tokens would be free.
//! 4. `rate_limit`: all limits of the route together
//! 5. `edits`: the route's changes to headers of request and response
//! 6. `redirect`, of a route that has no upstream
//!
//! A step that a route does not need does not exist for it. Most steps decide at once; only one that
//! has to wait allocates a future.

use std::sync::Arc;

use quartet_auth::jwt::JwtVerifier;

use super::{
    auth::AccessToken,
    body_limit::BodyLimit,
    context::{Flow, PolicyContext, ResponseHead, Verdict},
    edits::HeaderEdits,
    rate_limit::{NamedLimit, RateLimits},
    redirect::Redirect,
    upgrade::Upgrade,
};
use crate::{
    request::RequestFacts,
    routing::{Auth, Route},
};

/// The policies of one route.
#[derive(Debug)]
pub(crate) struct Chain {
    steps: Box<[Step]>,
}

/// An enum rather than a trait object: the calls are direct, and the steps lie side by side.
#[derive(Debug)]
enum Step {
    Upgrade(Upgrade),
    BodyLimit(BodyLimit),
    AccessToken(AccessToken),
    RateLimits(RateLimits),
    HeaderEdits(HeaderEdits),
    Redirect(Redirect),
}

impl Chain {
    /// `limits` are all limits of the configuration.
    pub(crate) fn new(
        route: &Route,
        verifier: Option<&JwtVerifier>,
        limits: &[Arc<NamedLimit>],
    ) -> Self {
        let mut steps = vec![
            Step::Upgrade(Upgrade::new(route.upgrade)),
            Step::BodyLimit(BodyLimit::new(route.body_limit_bytes)),
        ];
        if route.auth != Auth::Public {
            let policy = AccessToken::new(route.auth, verifier.cloned());
            steps.push(Step::AccessToken(policy));
        }
        let named = route.limits.iter().filter_map(|&index| limits.get(index));
        if !route.limits.is_empty() {
            steps.push(Step::RateLimits(RateLimits::new(named.cloned())));
        }
        if !(route.request_headers.is_empty() && route.response_headers.is_empty()) {
            steps.push(Step::HeaderEdits(HeaderEdits::new(route)));
        }
        if let Some(location) = &route.redirect {
            steps.push(Step::Redirect(Redirect::new(location.clone())));
        }
        Self {
            steps: steps.into(),
        }
    }

    pub(crate) async fn on_request(
        &self,
        facts: &RequestFacts<'_>,
        context: &mut PolicyContext,
    ) -> Flow {
        for step in &self.steps {
            let flow = match step.on_request(facts, context) {
                Verdict::Now(flow) => flow,
                Verdict::Later(flow) => flow.await,
            };
            if matches!(flow, Flow::Reply(_)) {
                return flow;
            }
        }
        context.deferred.take().map_or(Flow::Continue, Flow::Reply)
    }

    /// A part of the request body has arrived.
    pub(crate) fn on_body(&self, length: usize, context: &mut PolicyContext) -> Flow {
        context.body_bytes = context.body_bytes.saturating_add(length as u64);
        for step in &self.steps {
            if let Step::BodyLimit(policy) = step
                && let Flow::Reply(answer) = policy.on_body(context.body_bytes)
            {
                return Flow::Reply(answer);
            }
        }
        Flow::Continue
    }

    pub(crate) fn on_response(&self, context: &PolicyContext, response: &mut dyn ResponseHead) {
        for step in &self.steps {
            match step {
                Step::RateLimits(policy) => policy.on_response(context, response),
                Step::HeaderEdits(policy) => policy.on_response(response),
                Step::Upgrade(_)
                | Step::BodyLimit(_)
                | Step::AccessToken(_)
                | Step::Redirect(_) => {}
            }
        }
    }
}

impl Step {
    fn on_request<'f>(
        &'f self,
        facts: &'f RequestFacts<'_>,
        context: &'f mut PolicyContext,
    ) -> Verdict<'f> {
        match self {
            Self::Upgrade(policy) => Verdict::Now(policy.on_request(facts)),
            Self::BodyLimit(policy) => Verdict::Now(policy.on_request(facts)),
            Self::AccessToken(policy) => policy.on_request(facts, context),
            Self::RateLimits(policy) => Verdict::Now(policy.on_request(facts, context)),
            Self::HeaderEdits(policy) => {
                policy.on_request(facts, context);
                Verdict::Now(Flow::Continue)
            }
            Self::Redirect(policy) => {
                Verdict::Now(refused_first(context, || policy.on_request(facts)))
            }
        }
    }
}

/// What was refused before is not redirected.
fn refused_first(context: &mut PolicyContext, flow: impl FnOnce() -> Flow) -> Flow {
    context.deferred.take().map_or_else(flow, Flow::Reply)
}
