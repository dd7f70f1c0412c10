//! Answers requests from a response cache, and fills it.
//!
//! It is the last step of a chain: what refuses or limits a request has run, and a stored response is
//! the upstream's, without what policies add, which they do again for every request.
//!
//! A request that cannot be answered is forwarded. What is to become of its response is noted in the
//! [`PolicyContext`]; both paths show it the head and the body as they pass ([`super::fetch`]).

use std::sync::Arc;

use http::{HeaderName, Method, header};
use quartet_common::clock::Clock;
use tokio::time::{Instant, timeout_at};

use super::{
    context::{Edit, Flow, PolicyContext, Verdict},
    fetch::{CONDITIONS, CacheAccess, CacheMetrics, Fetch, SentRequest},
    headers::{Origin, forwarded_headers},
};
use crate::{
    cache::{
        Asked, Cache, CacheStatus, FillOutcome, Outcome, RequestControl, StoredResponse, Target,
        Turn, Use, Waiter,
    },
    error,
    reply::GatewayResponse,
    request::{Headers, RequestFacts, WebSocket, is_alias},
    routing::Route,
};

/// Headers that make some servers answer for another path, host or method. They are not part of the
/// key, so no upstream sees them where its responses are stored, unless the cache lists them.
static OVERRIDES: [HeaderName; 9] = [
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-original-uri"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("x-original-host"),
    HeaderName::from_static("x-host"),
    HeaderName::from_static("x-http-host-override"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
];
/// What `Connection` may say without taking a header of the request away from the upstream that its
/// response could depend on.
const CONNECTION_OPTIONS: [&[u8]; 6] = [
    b"close",
    b"keep-alive",
    b"upgrade",
    b"te",
    b"http2-settings",
    b"proxy-connection",
];

#[derive(Debug)]
pub(super) struct ResponseCache {
    cache: Arc<Cache>,
    route: Arc<str>,
    clock: Clock,
    metrics: CacheMetrics,
}

/// What becomes of a request.
enum Step {
    Reply(Box<GatewayResponse>),
    Forward,
    Wait(Waiter),
}

impl ResponseCache {
    pub(super) fn new(
        cache: Arc<Cache>,
        route: &Route,
        clock: Clock,
        metrics: CacheMetrics,
    ) -> Self {
        Self {
            cache,
            route: Arc::clone(&route.name),
            clock,
            metrics,
        }
    }

    pub(super) fn on_request<'f>(
        &'f self,
        facts: &'f RequestFacts<'_>,
        context: &'f mut PolicyContext,
    ) -> Verdict<'f> {
        let readable = matches!(*facts.method, Method::GET | Method::HEAD);
        if !readable || facts.websocket == WebSocket::Handshake {
            return Verdict::Now(Flow::Continue);
        }
        let Some(mut fetch) = self.fetch(facts, context) else {
            return Verdict::Now(Flow::Continue);
        };
        let step = if is_bypassed(facts, &fetch) {
            fetch.bypass();
            Step::Forward
        } else {
            let seen = SentRequest::new(facts.headers, &context.edits);
            self.look(&mut fetch, (facts.method, &seen), true)
        };
        match step {
            Step::Wait(waiter) => Verdict::Later(Box::pin(async move {
                let seen = SentRequest::new(facts.headers, &context.edits);
                let step = self.wait(&mut fetch, waiter, (facts.method, &seen)).await;
                conclude(step, fetch, facts, context)
            })),
            step => Verdict::Now(conclude(step, fetch, facts, context)),
        }
    }

    /// `None`: the request has no key.
    fn fetch(&self, facts: &RequestFacts<'_>, context: &PolicyContext) -> Option<Box<Fetch>> {
        let seen = SentRequest::new(facts.headers, &context.edits);
        let key = addressed(facts, |target| self.cache.key(target, &self.route, &seen))?;
        let control = if self.cache.settings.ignore_client_directives {
            RequestControl::default()
        } else {
            RequestControl::of(facts.headers)
        };
        let known = facts.headers.first(&header::AUTHORIZATION).is_some();
        let asked = Asked {
            control,
            authorized: known || context.caller.is_some() || is_proved(facts),
            has_unlisted_cookies: self.cache.has_unlisted_cookies(&seen),
        };
        let (cache, metrics) = (Arc::clone(&self.cache), self.metrics.clone());
        Some(Box::new(Fetch::new(
            cache,
            key,
            asked,
            self.clock.clone(),
            metrics,
        )))
    }

    /// `may_wait`: for the same request of another client.
    fn look(
        &self,
        fetch: &mut Fetch,
        request: (&Method, &SentRequest<'_>),
        may_wait: bool,
    ) -> Step {
        let now = fetch.now();
        let (_, seen) = request;
        let Some(stored) = self.cache.find(&fetch.key, seen) else {
            return self.missing(fetch, request, may_wait);
        };
        if fetch.asked.authorized && !stored.allows_authorized() {
            // It may differ for this client.
            fetch.bypass();
            return Step::Forward;
        }
        let control = &fetch.asked.control;
        match stored.usable(control, now) {
            Use::Fresh => fetch.answer(&stored, Outcome::Hit, request, now),
            Use::Stale => fetch.answer(&stored, Outcome::Stale, request, now),
            Use::WhileRevalidating => match self.cache.begin_fill(&fetch.key) {
                Turn::Wait(_) => fetch.answer(&stored, Outcome::Stale, request, now),
                Turn::Fill(fill) => {
                    fetch.refresh = Some((Arc::clone(&stored), fill));
                    fetch.answer(&stored, Outcome::Stale, request, now)
                }
            },
            Use::Revalidate { .. } if control.only_if_cached => only_if_cached(fetch),
            Use::Revalidate { if_error } => {
                fetch.status.demanded = stored.ttl(now) > 0;
                let shares = may_wait && stored.is_reusable() && !fetch.status.demanded;
                if shares && *request.0 == Method::GET {
                    match self.cache.begin_fill(&fetch.key) {
                        Turn::Wait(waiter) => return Step::Wait(waiter),
                        Turn::Fill(fill) => fetch.fill = Some(fill),
                    }
                }
                fetch.revalidate(stored, if_error, request.0)
            }
        }
    }

    fn missing(
        &self,
        fetch: &mut Fetch,
        (method, seen): (&Method, &SentRequest<'_>),
        may_wait: bool,
    ) -> Step {
        fetch.status.outcome = Outcome::Miss;
        if fetch.asked.control.only_if_cached {
            return only_if_cached(fetch);
        }
        // The response to HEAD has no body, and one to a part of it is not the whole.
        let whole = *method == Method::GET && seen.first(&header::RANGE).is_none();
        fetch.stores = whole;
        fetch.passes = !whole || self.cache.passes(&fetch.key);
        if fetch.passes || !may_wait {
            return Step::Forward;
        }
        match self.cache.begin_fill(&fetch.key) {
            Turn::Fill(fill) => fetch.fill = Some(fill),
            Turn::Wait(waiter) => return Step::Wait(waiter),
        }
        Step::Forward
    }

    /// Waits for the response to the same request of another client, and continues alone if it takes too
    /// long or is not for others.
    async fn wait(
        &self,
        fetch: &mut Fetch,
        mut waiter: Waiter,
        request: (&Method, &SentRequest<'_>),
    ) -> Step {
        let deadline = Instant::now() + self.cache.settings.fill_wait;
        loop {
            let outcome = timeout_at(deadline, waiter.outcome()).await;
            let may_wait = match outcome {
                Ok(FillOutcome::Stored(stored)) => {
                    let now = fetch.now();
                    let allowed = !fetch.asked.authorized || stored.allows_authorized();
                    let matches = stored.matches(&fetch.key, request.1);
                    let usable = stored.usable(&fetch.asked.control, now);
                    if allowed && matches && usable == Use::Fresh {
                        fetch.status.collapsed = true;
                        return fetch.answer(&stored, Outcome::Hit, request, now);
                    }
                    !matches
                }
                Ok(FillOutcome::None) => true,
                Ok(FillOutcome::NotStored) | Err(_) => false,
            };
            match self.look(fetch, request, may_wait) {
                Step::Wait(next) => waiter = next,
                step => return step,
            }
        }
    }
}

impl Fetch {
    fn revalidate(&mut self, stored: Arc<StoredResponse>, if_error: bool, method: &Method) -> Step {
        self.status.outcome = Outcome::Expired;
        self.stores = *method == Method::GET;
        self.passes = !self.stores;
        self.stale = Some((stored, if_error));
        Step::Forward
    }

    fn answer(
        &mut self,
        stored: &StoredResponse,
        outcome: Outcome,
        (method, seen): (&Method, &SentRequest<'_>),
        now: i64,
    ) -> Step {
        self.status = CacheStatus {
            outcome,
            ttl: Some(stored.ttl(now)),
            collapsed: self.status.collapsed,
            ..CacheStatus::default()
        };
        let reply = stored.reply(method, seen, now);
        Step::Reply(Box::new(GatewayResponse::Reply(reply)))
    }
}

/// Notes what is to become of the response, and changes what the upstream is asked.
fn conclude(
    step: Step,
    mut fetch: Box<Fetch>,
    facts: &RequestFacts<'_>,
    context: &mut PolicyContext,
) -> Flow {
    let flow = match step {
        Step::Reply(reply) => Flow::Reply(reply),
        // Only `wait` waits, and it returns another step.
        Step::Forward | Step::Wait(_) => {
            fetch.begin();
            edit(&fetch, facts.headers, &mut context.edits);
            Flow::Continue
        }
    };
    context.cache = Some(CacheAccess::Fetch(fetch));
    flow
}

fn edit(fetch: &Fetch, sent: &dyn Headers, edits: &mut Vec<Edit>) {
    if !(fetch.stores || fetch.stale.is_some()) {
        return;
    }
    let listed = &fetch.cache.settings.key_headers;
    let overrides = OVERRIDES.iter().filter(|name| !listed.contains(name));
    let sent_ones = overrides.filter(|name| is_sent(name, sent));
    edits.extend(sent_ones.cloned().map(Edit::Remove));
    if !fetch.passes {
        ask(fetch, edits);
    }
}

/// In any spelling that servers take for the header.
fn is_sent(name: &HeaderName, sent: &dyn Headers) -> bool {
    let mut found = false;
    sent.each_name(&mut |other| found |= is_alias(other, name.as_str().as_bytes()));
    found
}

/// Asks for the whole response, or whether the stored one is still valid.
fn ask(fetch: &Fetch, edits: &mut Vec<Edit>) {
    let conditions = CONDITIONS.into_iter();
    edits.extend(conditions.map(Edit::Remove));
    if let Some((stored, _)) = &fetch.stale {
        let conditions = stored.conditions();
        edits.extend(conditions.map(|(name, value)| Edit::Set(name, value)));
    }
}

/// As for a client's request that was not answered.
pub(super) fn edit_refresh(fetch: &Fetch, edits: &mut Vec<Edit>) {
    let listed = &fetch.cache.settings.key_headers;
    let overrides = OVERRIDES.iter().filter(|name| !listed.contains(name));
    edits.extend(overrides.cloned().map(Edit::Remove));
    ask(fetch, edits);
}

/// A request with a body, as another one for this URL would be answered; one with conditions that only
/// the origin can check; one that is not to be stored; and one whose `Connection` names a header: the
/// upstream does not see it, but what is stored would be found by it.
fn is_bypassed(facts: &RequestFacts<'_>, fetch: &Fetch) -> bool {
    let has = |name| facts.headers.first(&name).is_some();
    facts.headers.content_length().unwrap_or(0) > 0
        || has(header::TRANSFER_ENCODING)
        || has(header::IF_MATCH)
        || has(header::IF_UNMODIFIED_SINCE)
        || fetch.asked.control.no_store
        || nominates(facts.headers)
}

/// Whether the client is known by its certificate.
fn is_proved(facts: &RequestFacts<'_>) -> bool {
    facts.tls.is_some_and(|it| it.certificate.is_some())
}

/// Whether `Connection` names something that may be a header of the request (RFC 9110, 7.6.1).
fn nominates(headers: &dyn Headers) -> bool {
    headers
        .all(header::CONNECTION)
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .any(|named| {
            let mut options = CONNECTION_OPTIONS.iter();
            !named.is_empty() && !options.any(|option| named.eq_ignore_ascii_case(option))
        })
}

fn only_if_cached(fetch: &mut Fetch) -> Step {
    fetch.status.outcome = Outcome::Miss;
    Step::Reply(error::not_cached().into())
}

/// Shows where the request goes, as the upstream is sent it, also if a trusted proxy says so.
pub(super) fn addressed<T>(facts: &RequestFacts<'_>, of: impl FnOnce(Target<'_>) -> T) -> T {
    let reported = facts.reported_host.map(str::as_bytes);
    let origin = Origin {
        client: "",
        is_secure: facts.is_secure,
        host: reported.or(facts.host),
        sends_forwarded: false,
    };
    let [_, (_, scheme), (_, host), _] = forwarded_headers(origin);
    of(Target {
        scheme: scheme.as_deref().unwrap_or_default(),
        host: host.as_deref().unwrap_or_default(),
        path_and_query: facts.target,
        matched: (facts.host.unwrap_or_default(), facts.path.as_bytes()),
    })
}
