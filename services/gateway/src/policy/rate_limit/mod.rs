//! At most N requests in any window, per user, token, client, header or client IP.
//!
//! Counted in this process, or with the other replicas in a store. Response headers follow
//! draft-ietf-httpapi-ratelimit-headers-11.

mod bucket;
mod commands;
mod denials;
mod local;
mod rule;
#[cfg(test)]
mod script_tests;
mod shared;
mod store;
mod subject;
mod table;
mod window;

use std::{cell::RefCell, io::Write as _, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};
use prometheus_client::metrics::counter::Counter as Total;
use quartet_auth::jwt::Claims;

use super::context::{Flow, MAX_LIMITS, PolicyContext, Quota, ResponseHead, Verdict};
use crate::{
    config::Limit,
    error,
    metrics::GatewayMetrics,
    request::RequestFacts,
    routing::{OnStoreError, Route},
};
pub(crate) use commands::SharedCommands;
pub(crate) use local::LocalCounter;
use rule::{LimitDecision, Rule};
pub(crate) use shared::SharedCounter;
use shared::{Answer, Counted};
pub(crate) use store::{Pause, StoreStatus};
use subject::{Requester, Subject};

static POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static STATE: HeaderName = HeaderName::from_static("ratelimit");

thread_local! {
    /// Reused, because every response has one.
    static STATE_TEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// An IPv6 site may send this many times the requests of one client.
const SITE_FACTOR: u32 = 16;

/// A limit of the configuration with everything that is derived from it once. Routes share it.
#[derive(Clone, Debug)]
pub(crate) struct NamedLimit {
    limit: Limit,
    rule: Rule,
    /// Of all IPv6 clients of one site together.
    site_rule: Rule,
    /// Limits with the same one share their counters.
    counter_name: Arc<str>,
    /// The window, and whether there is a burst.
    definition: Arc<str>,
    policy_header: HeaderValue,
    refused: Total,
    fallbacks: Total,
    denied: Total,
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
            fallbacks: metrics.rate_limit_fallbacks(&limit.name),
            denied: metrics.rate_limit_denied(&limit.name),
            counter_name: Arc::clone(&limit.name),
            definition: match limit.burst {
                Some(_) => format!("{window}b").into(),
                None => window.to_string().into(),
            },
            rule: Rule::new(limit, 1),
            site_rule: Rule::new(limit, SITE_FACTOR),
            limit: limit.clone(),
            counter: Arc::clone(counter),
        })
    }

    /// As a route uses it.
    fn of_route(self: &Arc<Self>, route: &Route) -> Arc<Self> {
        let on_store_error = route.on_store_error.unwrap_or(self.limit.on_store_error);
        if !self.limit.is_per_route && on_store_error == self.limit.on_store_error {
            return Arc::clone(self);
        }
        let mut own = Self::clone(self);
        own.limit.on_store_error = on_store_error;
        if own.limit.is_per_route {
            // No name has this character.
            own.counter_name = format!("{}@{}", own.limit.name, route.name).into();
        }
        Arc::new(own)
    }

    fn subject<'a>(&'a self, facts: &RequestFacts<'a>, requester: Requester<'a>) -> Subject<'a> {
        Subject::new(&self.limit.keys, facts, requester)
    }

    fn counted<'c>(&'c self, subject: Subject<'c>) -> Counted<'c> {
        Counted {
            name: &self.counter_name,
            definition: &self.definition,
            rule: self.rule,
            site_rule: self.site_rule,
            subject,
        }
    }

    /// The quota as it is.
    fn look(&self, subject: Subject<'_>, now: u64) -> LimitDecision {
        let name = &self.counter_name;
        let own = self.counter.look(name, self.rule, subject, now);
        let site = subject.site();
        let site = site.map(|site| self.counter.look(name, self.site_rule, site, now));
        site.filter(|site| own.allowed && !site.allowed)
            .unwrap_or(own)
    }

    /// Counts a request, unless the quota is used up. A site without one adds no more networks to those
    /// that are counted: it could push out the counts of others.
    fn take(&self, subject: Subject<'_>, now: u64) -> LimitDecision {
        let name = &self.counter_name;
        if let Some(site) = subject.site() {
            let site = self.counter.look(name, self.site_rule, site, now);
            if !site.allowed {
                return site;
            }
        }
        let own = self.counter.count(name, self.rule, subject, now);
        let Some(site) = subject.site().filter(|_| own.allowed) else {
            return own;
        };
        let site = self.counter.count(name, self.site_rule, site, now);
        if site.allowed {
            return own;
        }
        self.counter.give_back(name, self.rule, subject, now);
        site
    }

    /// The request that was counted at `at` has been refused elsewhere.
    fn give_back(&self, subject: Subject<'_>, at: u64) {
        let name = &self.counter_name;
        self.counter.give_back(name, self.rule, subject, at);
        if let Some(site) = subject.site() {
            self.counter.give_back(name, self.site_rule, site, at);
        }
    }

    fn refuse(&self, outcome: LimitDecision) -> Flow {
        self.refused.inc();
        let (requests, window) = (self.limit.requests, self.limit.window.as_secs());
        let retry = whole_seconds(outcome.reset);
        Flow::Reply(error::rate_limited(requests, window, retry).into())
    }

    /// Until a subject that the store has refused has a quota again.
    fn denied(&self, shared: &SharedCounter, subject: Subject<'_>) -> Option<Duration> {
        let name = &self.counter_name;
        let own = shared.denials.left(name, self.rule, subject);
        own.or_else(|| shared.denials.left(name, self.site_rule, subject.site()?))
    }

    /// Remembers what the store has refused.
    fn deny(&self, shared: &SharedCounter, subject: Subject<'_>, answer: Answer) {
        let name = &self.counter_name;
        if !answer.own.allowed {
            let reset = answer.own.reset;
            shared.denials.add(name, self.rule, subject, reset);
        }
        if let (Some(site), Some(decision)) = (subject.site(), answer.site)
            && !decision.allowed
        {
            shared
                .denials
                .add(name, self.site_rule, site, decision.reset);
        }
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
    shared: Option<Arc<SharedCounter>>,
}

impl RateLimits {
    pub(super) fn new(
        route: &Route,
        limits: &[Arc<NamedLimit>],
        shared: Option<&Arc<SharedCounter>>,
    ) -> Self {
        let named = route.limits.iter().filter_map(|&index| limits.get(index));
        Self {
            limits: named
                .take(MAX_LIMITS)
                .map(|named| named.of_route(route))
                .collect(),
            shared: shared.cloned(),
        }
    }

    /// Decides at once, unless a store has to be asked.
    pub(super) fn on_request<'f>(
        &'f self,
        facts: &'f RequestFacts<'_>,
        context: &'f mut PolicyContext,
    ) -> Verdict<'f> {
        let Some(shared) = &self.shared else {
            return Verdict::Now(self.count_here(facts, context, |_| true));
        };
        if let Some(refused) = self.refuse_denied(shared, facts, context) {
            return Verdict::Now(refused);
        }
        let requester = requester(context.caller.as_ref(), context.deferred.is_some());
        let limits = self.limits.iter();
        let limits = limits.map(|named| named.counted(named.subject(facts, requester)));
        let Some(question) = shared.question(limits) else {
            return Verdict::Now(self.fall_back(facts, context));
        };
        Verdict::Later(Box::pin(async move {
            match shared.take(&question).await {
                Ok(answers) => self.conclude(shared, &answers, facts, context),
                Err(_) => self.fall_back(facts, context),
            }
        }))
    }

    /// Refuses, without asking the store, those whose quota it has said to be used up.
    fn refuse_denied(
        &self,
        shared: &SharedCounter,
        facts: &RequestFacts<'_>,
        context: &mut PolicyContext,
    ) -> Option<Flow> {
        let PolicyContext {
            caller,
            quotas,
            deferred,
            ..
        } = context;
        let requester = requester(caller.as_ref(), deferred.is_some());
        let mut refusing = None;
        for (quota, named) in quotas.iter_mut().zip(&self.limits) {
            let subject = named.subject(facts, requester);
            if let Some(reset) = named.denied(shared, subject) {
                let outcome = LimitDecision {
                    allowed: false,
                    remaining: 0,
                    reset,
                };
                *quota = Some(outcome.into());
                refusing.get_or_insert((named, outcome));
            }
        }
        let (named, outcome) = refusing?;
        named.denied.inc();
        Some(named.refuse(outcome))
    }

    /// What the store has counted.
    fn conclude(
        &self,
        shared: &SharedCounter,
        answers: &[Answer],
        facts: &RequestFacts<'_>,
        context: &mut PolicyContext,
    ) -> Flow {
        let PolicyContext {
            caller,
            quotas,
            deferred,
            ..
        } = context;
        let requester = requester(caller.as_ref(), deferred.is_some());
        let mut refusing = None;
        let each = quotas.iter_mut().zip(&self.limits).zip(answers);
        for ((quota, named), answer) in each {
            let outcome = answer.decision();
            *quota = Some(outcome.into());
            if !outcome.allowed {
                let subject = named.subject(facts, requester);
                named.deny(shared, subject, *answer);
                refusing.get_or_insert((named, outcome));
            }
        }
        refusing.map_or(Flow::Continue, |(named, outcome)| named.refuse(outcome))
    }

    /// The store does not count.
    fn fall_back(&self, facts: &RequestFacts<'_>, context: &mut PolicyContext) -> Flow {
        let mode = |named: &NamedLimit| named.limit.on_store_error;
        for named in &self.limits {
            named.fallbacks.inc();
        }
        if self
            .limits
            .iter()
            .any(|named| mode(named) == OnStoreError::Deny)
        {
            return Flow::Reply(error::limits_unavailable().into());
        }
        self.count_here(facts, context, |named| mode(named) == OnStoreError::Local)
    }

    /// Counts in this process, against these of the limits.
    fn count_here(
        &self,
        facts: &RequestFacts<'_>,
        context: &mut PolicyContext,
        counts: impl Fn(&NamedLimit) -> bool,
    ) -> Flow {
        let PolicyContext {
            caller,
            quotas,
            deferred,
            ..
        } = context;
        let requester = requester(caller.as_ref(), deferred.is_some());
        let counted = || {
            let limits = self.limits.iter().enumerate();
            limits.filter(|(_, named)| counts(named))
        };
        let Some((_, first)) = counted().next() else {
            return Flow::Continue;
        };
        let now = first.counter.now_us();
        if self.limits.len() > 1 {
            let mut refusing = None;
            for (place, named) in counted() {
                let outcome = named.look(named.subject(facts, requester), now);
                quotas[place] = Some(outcome.into());
                if !outcome.allowed {
                    refusing.get_or_insert((named, outcome));
                }
            }
            if let Some((named, outcome)) = refusing {
                return named.refuse(outcome);
            }
        }
        for (place, named) in counted() {
            let outcome = named.take(named.subject(facts, requester), now);
            quotas[place] = Some(outcome.into());
            if !outcome.allowed {
                for (_, earlier) in counted().take_while(|(at, _)| *at < place) {
                    earlier.give_back(earlier.subject(facts, requester), now);
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

fn requester(caller: Option<&Arc<Claims>>, is_refused: bool) -> Requester<'_> {
    Requester {
        caller: caller.map(|claims| &**claims),
        is_refused,
    }
}

/// Rounded up and at least one, so that a client that waits this long is not refused again.
fn whole_seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("limit names are ASCII; validation refuses others")
}
