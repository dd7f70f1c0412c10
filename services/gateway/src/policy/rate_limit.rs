//! Never more than N requests in any window, per user or client address.
//!
//! Headers as in draft-ietf-httpapi-ratelimit-headers-11.

mod counter;

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};

use super::{Exchange, Flow, Notes, Policy, ResponseHead};
use crate::{config::Limit, error};
pub(crate) use counter::LocalCounter;

static POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static STATE: HeaderName = HeaderName::from_static("ratelimit");

/// Who is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject<'a> {
    User(&'a str),
    /// IPv6 clients own a /64 at least, so that is what is counted.
    Address(IpAddr),
}

/// What is left after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) allowed: bool,
    pub(crate) remaining: u32,
    /// Until at least one more request is allowed.
    pub(crate) reset: Duration,
}

/// Where requests are counted: in this process, or in a store that replicas share.
pub(crate) trait Counter: Send + Sync {
    /// Counts one request unless the limit is used up.
    ///
    /// # Errors
    /// When the store cannot be asked; the caller decides what that means.
    fn take(
        &self,
        limit: &Limit,
        subject: Subject<'_>,
    ) -> impl Future<Output = Result<Verdict, CounterError>> + Send;
}

/// The store did not answer.
#[derive(Debug, thiserror::Error)]
#[error("the store of the rate limits does not answer")]
pub(crate) struct CounterError;

#[derive(Debug)]
pub(crate) struct RateLimit<C> {
    counter: Arc<C>,
    limits: Vec<Named>,
}

/// A limit with the header that describes it.
#[derive(Debug)]
struct Named {
    limit: Limit,
    policy: HeaderValue,
}

impl<C: Counter> RateLimit<C> {
    pub(crate) fn new(counter: Arc<C>, limits: &[Limit]) -> Self {
        let limits = limits
            .iter()
            .map(|limit| Named {
                policy: header(&format!(
                    "\"{}\";q={};w={}",
                    limit.name,
                    limit.requests,
                    limit.window.as_secs()
                )),
                limit: limit.clone(),
            })
            .collect();
        Self { counter, limits }
    }
}

impl<C: Counter> Policy for RateLimit<C> {
    async fn on_request(&self, exchange: &mut Exchange<'_>) -> Flow {
        let Some((index, named)) = exchange
            .route
            .limit
            .and_then(|index| Some((index, self.limits.get(index)?)))
        else {
            return Flow::Continue(());
        };
        let caller = exchange.notes.caller.clone();
        let subject = match &caller {
            Some(claims) => Subject::User(&claims.sub),
            None => Subject::Address(exchange.client),
        };
        // A counter that cannot be asked must not take the service down with it.
        let Ok(verdict) = self.counter.take(&named.limit, subject).await else {
            return Flow::Continue(());
        };
        exchange.notes.quota = Some((index, verdict));
        if verdict.allowed {
            return Flow::Continue(());
        }
        Flow::Break(Box::new(error::rate_limited(
            &named.limit,
            seconds(verdict.reset),
        )))
    }

    fn on_response(&self, notes: &Notes, response: &mut dyn ResponseHead) {
        let Some((index, verdict)) = notes.quota else {
            return;
        };
        let Some(named) = self.limits.get(index) else {
            return;
        };
        response.set(POLICY.clone(), named.policy.clone());
        let state = format!(
            "\"{}\";r={};t={}",
            named.limit.name,
            verdict.remaining,
            seconds(verdict.reset)
        );
        response.set(STATE.clone(), header(&state));
    }
}

/// Whole seconds, rounded up, at least one: who comes back then is not refused again.
fn seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("limit names are plain ASCII; validation refuses others")
}
