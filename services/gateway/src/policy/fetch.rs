//! What becomes of the response to a request that a cache could not answer.
//!
//! Both paths call these, in this order, for the response of each attempt: the head, the parts of the
//! body, its end. A request that ends without them gives its place to one that waits.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use prometheus_client::metrics::counter::Counter;
use quartet_common::clock::Clock;

use super::{flow::Edit, invalidation::Invalidation};
use crate::{
    cache::{
        Asked, BodyLength, Cache, CacheStatus, Fill, FillOutcome, Key, Outcome, StorableHead,
        StoredResponse,
    },
    metrics::GatewayMetrics,
    reply::Reply,
    request::Headers,
};

/// Headers that are for the stored response rather than for the upstream.
pub(super) const CONDITIONS: [HeaderName; 4] = [
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_RANGE,
    header::RANGE,
];

/// Counts the requests of one cache, by outcome.
#[derive(Clone, Debug)]
pub(crate) struct CacheMetrics(Arc<[Counter; Outcome::ALL.len()]>);

/// What a request has to do with caches.
#[derive(Debug)]
pub(crate) enum CacheAccess {
    Fetch(Box<Fetch>),
    Invalidation(Invalidation),
}

/// A request that a cache has seen.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(super) cache: Arc<Cache>,
    pub(super) key: Key,
    pub(super) asked: Asked,
    pub(super) status: CacheStatus,
    clock: Clock,
    pub(super) metrics: CacheMetrics,
    /// When the upstream is asked, and what was purged until then.
    sent: i64,
    purges: u64,
    /// The response may be stored.
    pub(super) stores: bool,
    /// The request is forwarded as it is.
    pub(super) passes: bool,
    /// Others wait for the response.
    pub(super) fill: Option<Fill>,
    /// What is revalidated, and whether it may be used if the upstream fails.
    pub(super) stale: Option<(Arc<StoredResponse>, bool)>,
    /// What is to be revalidated after the answer.
    pub(super) refresh: Option<(Arc<StoredResponse>, Fill)>,
    /// The response as far as it has arrived.
    pub(super) storing: Option<StorableHead>,
}

/// The request as the upstream sees it, as far as responses may vary by it.
pub(crate) struct SentRequest<'s> {
    sent: &'s dyn Headers,
    edits: &'s [Edit],
}

/// The head of an upstream's response.
#[derive(Clone, Copy)]
pub(crate) struct ReceivedResponse<'r> {
    pub(crate) status: StatusCode,
    pub(crate) headers: &'r HeaderMap,
    pub(crate) length: BodyLength,
    /// Of the request.
    pub(crate) method: &'r Method,
    pub(crate) request: &'r dyn Headers,
}

impl CacheMetrics {
    pub(super) fn new(metrics: &GatewayMetrics, cache: &Arc<str>) -> Self {
        let counters = Outcome::ALL.map(|outcome| metrics.cache_requests(cache, outcome.name()));
        Self(Arc::new(counters))
    }

    pub(super) fn count(&self, outcome: Outcome) {
        if let Some(at) = Outcome::ALL.iter().position(|other| *other == outcome) {
            self.0[at].inc();
        }
    }
}

impl<'s> SentRequest<'s> {
    pub(super) fn new(sent: &'s dyn Headers, edits: &'s [Edit]) -> Self {
        Self { sent, edits }
    }
}

impl Headers for SentRequest<'_> {
    fn nth(&self, name: &HeaderName, index: usize) -> Option<&[u8]> {
        // What the edits make of the values that were sent; `None`: nothing yet.
        let mut values: Option<Vec<&[u8]>> = None;
        for edit in self.edits.iter().filter(|edit| edit.name() == name) {
            match edit {
                Edit::Set(_, value) => values = Some(vec![value.as_bytes()]),
                // Conditions and ranges are removed for the upstream, and are the client's still.
                Edit::Remove(_) if CONDITIONS.contains(name) => {}
                Edit::Remove(_) => values = Some(Vec::new()),
                Edit::Add(_, value) => {
                    let sent = || self.sent.all(name.clone()).collect();
                    values.get_or_insert_with(sent).push(value.as_bytes());
                }
                Edit::SetMissing(_, value) => {
                    let is_missing = match &values {
                        Some(values) => values.is_empty(),
                        None => self.sent.first(name).is_none(),
                    };
                    if is_missing {
                        values = Some(vec![value.as_bytes()]);
                    }
                }
            }
        }
        match values {
            Some(values) => values.get(index).copied(),
            None => self.sent.nth(name, index),
        }
    }

    fn each_name(&self, see: &mut dyn FnMut(&[u8])) {
        self.sent.each_name(see);
        for edit in self.edits {
            see(edit.name().as_str().as_bytes());
        }
    }
}

impl Fetch {
    pub(super) fn new(
        cache: Arc<Cache>,
        key: Key,
        asked: Asked,
        clock: Clock,
        metrics: CacheMetrics,
    ) -> Self {
        Self {
            cache,
            key,
            asked,
            status: CacheStatus::default(),
            clock,
            metrics,
            sent: 0,
            purges: 0,
            stores: false,
            passes: false,
            fill: None,
            stale: None,
            refresh: None,
            storing: None,
        }
    }

    /// Seconds since 1970.
    pub(super) fn now(&self) -> i64 {
        self.clock.now().timestamp()
    }

    /// The request is none for the cache, and its response is not stored.
    pub(super) fn bypass(&mut self) {
        self.status.outcome = Outcome::Bypass;
        self.stores = false;
        self.passes = true;
    }

    /// The upstream is asked from now on.
    pub(super) fn begin(&mut self) {
        self.sent = self.now();
        self.purges = self.cache.purges();
    }

    /// The stored response that revalidates in the background, with the right to do so.
    pub(super) fn take_refresh(&mut self) -> Option<Self> {
        let (stored, fill) = self.refresh.take()?;
        let (cache, clock) = (Arc::clone(&self.cache), self.clock.clone());
        let (key, metrics) = (self.key.clone(), self.metrics.clone());
        let mut fetch = Self::new(cache, key, self.asked, clock, metrics);
        fetch.stores = true;
        fetch.stale = Some((stored, false));
        fetch.fill = Some(fill);
        fetch.begin();
        Some(fetch)
    }

    pub(super) fn head(
        &mut self,
        response: ReceivedResponse<'_>,
        seen: &SentRequest<'_>,
    ) -> Option<Reply> {
        self.storing = None;
        self.status.stored = false;
        self.status.upstream_status = Some(response.status.as_u16());
        let now = self.now();
        if let (Some((stored, if_error)), true) = (&self.stale, response.status.as_u16() != 200) {
            if response.status == StatusCode::NOT_MODIFIED && self.stores {
                let times = ((self.sent, now), self.purges);
                let stored = Arc::clone(stored);
                let (headers, asked) = (response.headers, &self.asked);
                let (refreshed, is_stored) =
                    self.cache.refresh(&stored, headers, asked, seen, times);
                self.status.outcome = Outcome::Revalidated;
                self.status.ttl = Some(refreshed.ttl(now));
                self.status.stored = is_stored;
                self.end_fill(if is_stored {
                    FillOutcome::Stored(Arc::clone(&refreshed))
                } else {
                    FillOutcome::NotStored
                });
                return Some(refreshed.reply(response.method, response.request, now));
            }
            if *if_error && is_failure(response.status) {
                return self.stale_reply(response.method, response.request);
            }
        }
        if self.stores {
            self.begin_storing(response, seen, now);
        }
        None
    }

    fn begin_storing(&mut self, response: ReceivedResponse<'_>, seen: &SentRequest<'_>, now: i64) {
        let asked_for = (&self.key, &self.asked);
        let (head, times) = ((response.status, response.headers), (self.sent, now));
        self.storing = self
            .cache
            .storable(asked_for, head, response.length, seen, times);
        self.status.stored = self.storing.is_some();
        if self.storing.is_none() {
            if let Some((stored, _)) = &self.stale
                && replaces(response.status)
            {
                self.cache.forget(stored);
            }
            self.give_up();
        }
    }

    pub(super) fn body(&mut self, part: &[u8]) {
        let fits = match &mut self.storing {
            Some(head) => head.recording.push(part),
            None => return,
        };
        if !fits {
            self.storing = None;
            self.give_up();
        }
    }

    pub(super) fn end(&mut self) {
        let Some(head) = self.storing.take() else {
            return;
        };
        match self.cache.store(head, self.purges) {
            Some(stored) => self.end_fill(FillOutcome::Stored(stored)),
            None => self.end_fill(FillOutcome::NotStored),
        }
    }

    /// The response is not for others.
    fn give_up(&mut self) {
        self.cache.note_pass(&self.key);
        self.end_fill(FillOutcome::NotStored);
    }

    fn end_fill(&mut self, outcome: FillOutcome) {
        if let Some(fill) = self.fill.take() {
            fill.end(outcome);
        }
    }

    /// The stale response, if it may be used in place of a failure.
    pub(super) fn stale_reply(&mut self, method: &Method, request: &dyn Headers) -> Option<Reply> {
        let (stored, _) = self.stale.take_if(|(_, if_error)| *if_error)?;
        let now = self.now();
        self.storing = None;
        self.end_fill(FillOutcome::NotStored);
        self.status.outcome = Outcome::Stale;
        self.status.ttl = Some(stored.ttl(now));
        Some(stored.reply(method, request, now))
    }
}

/// Whether a response says that what is stored is no longer so. Others are about the request that was
/// answered, or about the upstream: a client that is refused must not take the response away from
/// others.
fn replaces(status: StatusCode) -> bool {
    status.is_success()
        || status.is_redirection()
        || matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

/// Statuses for which `stale-if-error` is meant (RFC 5861, 4).
fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// What the upstream has not seen yet of the length of a body.
pub(crate) fn body_length(headers: &HeaderMap, has_none: bool, marked: bool) -> BodyLength {
    let announced = headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse().ok());
    match announced {
        _ if has_none => BodyLength::Known(0),
        Some(length) => BodyLength::Known(length),
        None if marked => BodyLength::Marked,
        None => BodyLength::Unknown,
    }
}
