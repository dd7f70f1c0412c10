//! At most N requests in any window, per user or client IP.
//!
//! Response headers follow draft-ietf-httpapi-ratelimit-headers-11.

mod counter;
mod local;

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};
use prometheus_client::metrics::counter::Counter as Total;

use super::context::{Flow, Policy, PolicyContext, Quota, RequestView, ResponseHead};
use crate::{config::Limit, error, metrics::GatewayMetrics};
use counter::{Counter, Subject};
pub(crate) use local::LocalCounter;

static POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static STATE: HeaderName = HeaderName::from_static("ratelimit");

/// Counts requests against the limit of their route.
#[derive(Debug)]
pub(super) struct RateLimit<C> {
    counter: Arc<C>,
    /// In the order of the configuration.
    limits: Vec<NamedLimit>,
}

/// A limit with everything that is derived from it once.
#[derive(Debug)]
struct NamedLimit {
    limit: Limit,
    policy_header: HeaderValue,
    refused: Total,
}

impl<C: Counter> RateLimit<C> {
    pub(super) fn new(counter: Arc<C>, limits: &[Limit], metrics: &GatewayMetrics) -> Self {
        let limits = limits
            .iter()
            .map(|limit| {
                let (requests, window) = (limit.requests, limit.window.as_secs());
                NamedLimit {
                    policy_header: header(&format!("\"{}\";q={requests};w={window}", limit.name)),
                    refused: metrics.rate_limited(&limit.name),
                    limit: limit.clone(),
                }
            })
            .collect();
        Self { counter, limits }
    }
}

impl<C: Counter> Policy for RateLimit<C> {
    async fn on_request(&self, request: &mut RequestView<'_>) -> Flow {
        let index = request.route.limit;
        let Some((index, named)) = index.and_then(|index| Some((index, self.limits.get(index)?)))
        else {
            return Flow::Continue(());
        };
        let caller = request.context.caller.clone();
        let subject = match &caller {
            Some(claims) => Subject::User(&claims.sub),
            None => Subject::ClientIp(request.client_ip),
        };
        // A store that is down must not take the services down with it.
        let Ok(outcome) = self.counter.count(&named.limit, subject).await else {
            return Flow::Continue(());
        };
        request.context.quota = Some(Quota {
            limit: index,
            remaining: outcome.remaining,
            reset: outcome.reset,
        });
        if outcome.allowed {
            return Flow::Continue(());
        }
        named.refused.inc();
        Flow::Break(Box::new(error::rate_limited(
            named.limit.requests,
            named.limit.window.as_secs(),
            whole_seconds(outcome.reset),
        )))
    }

    fn on_response(&self, context: &PolicyContext, response: &mut dyn ResponseHead) {
        let Some(quota) = context.quota else { return };
        let Some(named) = self.limits.get(quota.limit) else {
            return;
        };
        response.set(POLICY.clone(), named.policy_header.clone());
        let (remaining, reset) = (quota.remaining, whole_seconds(quota.reset));
        let state = format!("\"{}\";r={remaining};t={reset}", named.limit.name);
        response.set(STATE.clone(), header(&state));
    }
}

/// Rounded up and at least one, so that a client that waits this long is not refused again.
fn whole_seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("limit names are ASCII; validation refuses others")
}
