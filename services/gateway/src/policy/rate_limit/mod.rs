//! At most N requests in any window, per user or client IP.
//!
//! Response headers follow draft-ietf-httpapi-ratelimit-headers-11.

mod counter;
mod local;

use std::{cell::RefCell, io::Write as _, net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};
use prometheus_client::metrics::counter::Counter as Total;

use super::context::{Flow, MAX_LIMITS, PolicyContext, Quota, ResponseHead};
use crate::{config::Limit, error, metrics::GatewayMetrics, request::RequestFacts};
use counter::{LimitDecision, Subject};
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

    /// The quota as it is.
    fn look(&self, subject: Subject<'_>, now: u64) -> LimitDecision {
        let own = self.counter.look(&self.limit, subject, now);
        let site = site_of(subject).map(|site| self.counter.look(&self.site, site, now));
        site.filter(|site| own.allowed && !site.allowed)
            .unwrap_or(own)
    }

    /// Counts a request, unless the quota is used up.
    fn take(&self, subject: Subject<'_>, now: u64) -> LimitDecision {
        let own = self.counter.count(&self.limit, subject, now);
        let Some(site) = site_of(subject).filter(|_| own.allowed) else {
            return own;
        };
        let site = self.counter.count(&self.site, site, now);
        if site.allowed {
            return own;
        }
        self.counter.give_back(&self.limit, subject, now);
        site
    }

    /// The request that was counted at `at` has been refused elsewhere.
    fn give_back(&self, subject: Subject<'_>, at: u64) {
        self.counter.give_back(&self.limit, subject, at);
        if let Some(site) = site_of(subject) {
            self.counter.give_back(&self.site, site, at);
        }
    }

    fn refuse(&self, outcome: LimitDecision) -> Flow {
        self.refused.inc();
        let (requests, window) = (self.limit.requests, self.limit.window.as_secs());
        let retry = whole_seconds(outcome.reset);
        Flow::Reply(error::rate_limited(requests, window, retry).into())
    }
}

/// The site of an IPv6 client.
fn site_of(subject: Subject<'_>) -> Option<Subject<'_>> {
    match subject {
        Subject::ClientIp(IpAddr::V6(address)) => Some(Subject::Site(address)),
        _ => None,
    }
}

impl From<LimitDecision> for Quota {
    fn from(outcome: LimitDecision) -> Self {
        Self {
            remaining: outcome.remaining,
            reset: outcome.reset,
        }
    }
}

/// Counts the requests of a route against its limits. A request that one of them refuses counts in
/// none: all are looked at before any is taken from, and what was taken is given back if another
/// request was faster.
#[derive(Debug)]
pub(super) struct RateLimits {
    limits: Box<[Arc<NamedLimit>]>,
}

impl RateLimits {
    pub(super) fn new(limits: impl Iterator<Item = Arc<NamedLimit>>) -> Self {
        Self {
            limits: limits.take(MAX_LIMITS).collect(),
        }
    }

    pub(super) fn on_request(&self, facts: &RequestFacts<'_>, context: &mut PolicyContext) -> Flow {
        let PolicyContext { caller, quotas, .. } = context;
        let subject = match caller {
            Some(claims) => Subject::User(&claims.sub),
            None => Subject::ClientIp(facts.client_ip),
        };
        let Some(first) = self.limits.first() else {
            return Flow::Continue;
        };
        let now = first.counter.now_ms();
        if self.limits.len() > 1 {
            let mut refusing = None;
            for (quota, named) in quotas.iter_mut().zip(&self.limits) {
                let outcome = named.look(subject, now);
                *quota = Some(outcome.into());
                if !outcome.allowed {
                    refusing.get_or_insert((named, outcome));
                }
            }
            if let Some((named, outcome)) = refusing {
                return named.refuse(outcome);
            }
        }
        for (place, named) in self.limits.iter().enumerate() {
            let outcome = named.take(subject, now);
            quotas[place] = Some(outcome.into());
            if !outcome.allowed {
                for earlier in &self.limits[..place] {
                    earlier.give_back(subject, now);
                }
                return named.refuse(outcome);
            }
        }
        Flow::Continue
    }

    /// Further elements of the lists that a service may have sent.
    pub(super) fn on_response(&self, context: &PolicyContext, response: &mut dyn ResponseHead) {
        for (quota, named) in context.quotas.iter().zip(&self.limits) {
            let Some(quota) = quota else { continue };
            let name = &named.limit.name;
            let (remaining, reset) = (quota.remaining, whole_seconds(quota.reset));
            STATE_TEXT.with_borrow_mut(|state| {
                state.clear();
                // Writing to memory cannot fail.
                let _ = write!(state, "\"{name}\";r={remaining};t={reset}");
                response.append_bytes(&POLICY, named.policy_header.as_bytes());
                response.append_bytes(&STATE, state);
            });
        }
    }
}

/// Rounded up and at least one, so that a client that waits this long is not refused again.
fn whole_seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("limit names are ASCII; validation refuses others")
}
