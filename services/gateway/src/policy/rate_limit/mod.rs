//! At most N requests in any window, per user or client IP.
//!
//! Response headers follow draft-ietf-httpapi-ratelimit-headers-11.

mod counter;
mod local;

use std::{cell::RefCell, io::Write as _, net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};
use prometheus_client::metrics::counter::Counter as Total;

use super::context::{Flow, PolicyContext, Quota, ResponseHead};
use crate::{config::Limit, error, metrics::GatewayMetrics, request::Facts};
use counter::Subject;
pub(crate) use local::LocalCounter;

static POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static STATE: HeaderName = HeaderName::from_static("ratelimit");

thread_local! {
    /// Reused, because every response has one.
    static STATE_TEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// An IPv6 site may send this many times the requests of one client.
const SITE_FACTOR: u32 = 16;

/// A limit of the configuration with everything that is derived from it once. Routes share it.
#[derive(Debug)]
pub(crate) struct NamedLimit {
    limit: Limit,
    /// Of all IPv6 clients of one site together.
    site: Limit,
    policy_header: HeaderValue,
    refused: Total,
    counter: Arc<LocalCounter>,
}

impl NamedLimit {
    pub(crate) fn new(
        limit: &Limit,
        counter: &Arc<LocalCounter>,
        metrics: &GatewayMetrics,
    ) -> Arc<Self> {
        let (requests, window) = (limit.requests, limit.window.as_secs());
        Arc::new(Self {
            policy_header: header(&format!("\"{}\";q={requests};w={window}", limit.name)),
            refused: metrics.rate_limited(&limit.name),
            limit: limit.clone(),
            site: Limit {
                requests: limit.requests.saturating_mul(SITE_FACTOR),
                ..limit.clone()
            },
            counter: Arc::clone(counter),
        })
    }
}

/// Counts the requests of a route against one of its limits. A request that a later limit refuses
/// has counted.
#[derive(Debug)]
pub(super) struct RateLimit {
    named: Arc<NamedLimit>,
    /// Among the limits of the route.
    place: usize,
}

impl RateLimit {
    pub(super) fn new(named: Arc<NamedLimit>, place: usize) -> Self {
        Self { named, place }
    }

    pub(super) fn on_request(&self, facts: &Facts<'_>, context: &mut PolicyContext) -> Flow {
        let limit = &self.named.limit;
        let subject = match &context.caller {
            Some(claims) => Subject::User(&claims.sub),
            None => Subject::ClientIp(facts.client_ip),
        };
        let mut outcome = self.named.counter.count(limit, subject);
        if let (true, Subject::ClientIp(IpAddr::V6(address))) = (outcome.allowed, subject) {
            let site = self
                .named
                .counter
                .count(&self.named.site, Subject::Site(address));
            if !site.allowed {
                outcome = site;
            }
        }
        if let Some(quota) = context.quotas.get_mut(self.place) {
            *quota = Some(Quota {
                remaining: outcome.remaining,
                reset: outcome.reset,
            });
        }
        if outcome.allowed {
            return Flow::Continue;
        }
        self.named.refused.inc();
        let (requests, window) = (limit.requests, limit.window.as_secs());
        let retry = whole_seconds(outcome.reset);
        Flow::Reply(error::rate_limited(requests, window, retry).into())
    }

    pub(super) fn on_response(&self, context: &PolicyContext, response: &mut dyn ResponseHead) {
        let Some(Some(quota)) = context.quotas.get(self.place) else {
            return;
        };
        let name = &self.named.limit.name;
        let (remaining, reset) = (quota.remaining, whole_seconds(quota.reset));
        let policy = self.named.policy_header.as_bytes();
        STATE_TEXT.with_borrow_mut(|state| {
            state.clear();
            // Writing to memory cannot fail.
            let _ = write!(state, "\"{name}\";r={remaining};t={reset}");
            if self.place == 0 {
                response.set_bytes(&POLICY, policy);
                response.set_bytes(&STATE, state);
            } else {
                response.append_bytes(&POLICY, policy);
                response.append_bytes(&STATE, state);
            }
        });
    }
}

/// Rounded up and at least one, so that a client that waits this long is not refused again.
fn whole_seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("limit names are ASCII; validation refuses others")
}
