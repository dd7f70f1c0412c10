//! The response cache (RFC 9111): a shared one, in memory.
//!
//! ```text
//! key          which requests may share responses at all
//! variance     which of them do, as `Vary` says
//! control      the directives of requests and responses
//! freshness    how long a response is fresh, and what may be done with it
//! storing      whether a response may be stored
//! validators   conditions: of clients, and to the upstream; `ranges`: parts of a stored body
//! status       what is said of it: `Cache-Status`, log, metrics
//! entry        a stored response, and the answers made of it
//! store        the entries; `fills`, `purges`, `recording`: on the way into it
//! ```
//!
//! All but the last line are functions of their arguments. Nothing here waits, but [`Waiter`], and
//! nothing sends: [`policy::cache`](crate::policy) decides about a request, and both paths show it
//! the response as it passes.

mod control;
pub(crate) mod date;
mod entry;
mod fills;
mod freshness;
mod key;
mod purges;
mod ranges;
mod recording;
mod status;
mod store;
mod storing;
mod validators;
mod variance;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

pub(crate) use control::{RequestControl, ResponseControl};
pub(crate) use entry::StoredResponse;
pub(crate) use fills::{Fill, FillOutcome, Turn, Waiter};
pub(crate) use freshness::{Defaults, Use};
pub(crate) use key::{Key, Target};
pub(crate) use purges::Purge;
pub(crate) use ranges::{Part, part};
pub(crate) use recording::Recording;
pub(crate) use status::{CacheStatus, Outcome};
pub(crate) use storing::Asked;
pub(crate) use validators::{is_not_modified, range_applies};

use crate::request::Headers;
use freshness::Times;
use store::Store;

/// `[caches.*]`, valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CacheSettings {
    pub(crate) name: Arc<str>,
    pub(crate) max_bytes: u64,
    pub(crate) max_object_bytes: usize,
    /// Of one URL.
    pub(crate) max_variants: usize,
    pub(crate) defaults: Defaults,
    /// How long a request waits for the same request of another client.
    pub(crate) fill_wait: Duration,
    pub(crate) key_headers: Vec<HeaderName>,
    pub(crate) key_cookies: Vec<Box<str>>,
    pub(crate) strip_set_cookie: bool,
    pub(crate) ignore_client_directives: bool,
    pub(crate) targeted_control: Vec<HeaderName>,
    pub(crate) tag_headers: Vec<HeaderName>,
    pub(crate) forward_tags: bool,
    pub(crate) status_header: bool,
}

/// One cache of the configuration in force.
#[derive(Debug)]
pub(crate) struct Cache {
    pub(crate) settings: CacheSettings,
    store: Arc<Store>,
}

/// The head of a response that is stored once its body is complete.
#[derive(Debug)]
pub(crate) struct StorableHead {
    stored: StoredResponse,
    pub(crate) recording: Recording,
}

/// How long the body of a response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyLength {
    Known(u64),
    /// Its end is marked.
    Marked,
    /// It ends with the connection, so that a whole body and a part look the same.
    Unknown,
}

impl Cache {
    /// `previous`: the one of this name before a reload, whose responses stay.
    pub(crate) fn new(settings: CacheSettings, previous: Option<&Self>) -> Self {
        let same = |before: &&Self| {
            let before = &before.settings;
            before.max_bytes == settings.max_bytes
                && before.key_headers == settings.key_headers
                && before.key_cookies == settings.key_cookies
                && before.max_object_bytes == settings.max_object_bytes
        };
        let store = previous.filter(same).map_or_else(
            || Arc::new(Store::new(settings.max_bytes, settings.max_object_bytes)),
            |before| Arc::clone(&before.store),
        );
        Self { settings, store }
    }

    pub(crate) fn key(
        &self,
        target: Target<'_>,
        route: &str,
        headers: &dyn Headers,
    ) -> Option<Key> {
        let listed = (&*self.settings.key_headers, &*self.settings.key_cookies);
        Key::new(target, route, listed, headers)
    }

    pub(crate) fn has_unlisted_cookies(&self, headers: &dyn Headers) -> bool {
        key::has_unlisted_cookies(headers, &self.settings.key_cookies)
    }

    pub(crate) fn find(&self, key: &Key, request: &dyn Headers) -> Option<Arc<StoredResponse>> {
        self.store.find(key, request)
    }

    pub(crate) fn begin_fill(&self, key: &Key) -> Turn {
        self.store.begin_fill(key)
    }

    /// The last response was not for others: no one waits for the next one.
    pub(crate) fn passes(&self, key: &Key) -> bool {
        self.store.passes(key)
    }

    pub(crate) fn note_pass(&self, key: &Key) {
        self.store.note_pass(key);
    }

    /// To be noted before the upstream is asked.
    pub(crate) fn purges(&self) -> u64 {
        self.store.purges()
    }

    pub(crate) fn purge(&self, purge: Purge) -> usize {
        self.store.purge(purge)
    }

    /// Removes a response that the upstream has replaced by one that is not stored.
    pub(crate) fn forget(&self, stored: &Arc<StoredResponse>) {
        self.store.remove(stored);
    }

    /// URLs with responses, and the bytes of all.
    pub(crate) fn size(&self) -> (u64, u64) {
        self.store.size()
    }

    /// What is stored of a response to a GET. `None`: it is not for other requests. `times`: when the
    /// request was sent, and its response received.
    pub(crate) fn storable(
        &self,
        (key, asked): (&Key, &Asked),
        (status, headers): (StatusCode, &HeaderMap),
        length: BodyLength,
        request: &dyn Headers,
        times: (i64, i64),
    ) -> Option<StorableHead> {
        let settings = &self.settings;
        let announced = match length {
            BodyLength::Known(length) => Some(usize::try_from(length).ok()?),
            BodyLength::Marked => None,
            BodyLength::Unknown => return None,
        };
        let stored = self.head((key, asked), (status, headers), request, times)?;
        let most = settings.max_object_bytes;
        let most = most.checked_sub(stored.size_bytes())?;
        let recording = Recording::new(announced, most, &self.store.room)?;
        Some(StorableHead { stored, recording })
    }

    fn head(
        &self,
        (key, asked): (&Key, &Asked),
        (status, headers): (StatusCode, &HeaderMap),
        request: &dyn Headers,
        times: (i64, i64),
    ) -> Option<StoredResponse> {
        let settings = &self.settings;
        let received = times.1;
        let control = ResponseControl::of(headers, &settings.targeted_control);
        let times = Times::of(status, headers, &control, &settings.defaults, times);
        let strip = settings.strip_set_cookie;
        let defaults = &settings.defaults;
        if !storing::is_allowed(status, headers, &control, &times, asked, strip, defaults) {
            return None;
        }
        let names = variance::names(headers)?;
        let mut fields = storing::stored_fields(headers);
        if !fields.contains_key(header::DATE) {
            // RFC 9110, 6.6.1.
            let date = HeaderValue::try_from(date::format(received)).ok()?;
            fields.insert(header::DATE, date);
        }
        Some(StoredResponse {
            key: key.clone(),
            compared: variance::compared(names, request),
            status,
            headers: fields,
            body: bytes::Bytes::new(),
            control,
            times,
            tags: storing::tags(headers, &settings.tag_headers)?,
        })
    }

    /// Stores a response whose body has ended. `None`: it is not complete, or was purged.
    pub(crate) fn store(&self, head: StorableHead, purges: u64) -> Option<Arc<StoredResponse>> {
        let StorableHead {
            mut stored,
            recording,
        } = head;
        stored.body = recording.finish()?;
        self.insert(stored, purges)
    }

    fn insert(&self, stored: StoredResponse, purges: u64) -> Option<Arc<StoredResponse>> {
        let stored = Arc::new(stored);
        let most = self.settings.max_variants;
        self.store.insert(&stored, purges, most).then_some(stored)
    }

    /// The stored response after a 304: with its fields, and fresh again. It is stored if it may be, and
    /// was not purged since the upstream was asked; otherwise it is for the request that asked, and
    /// for no other.
    pub(crate) fn refresh(
        &self,
        stored: &Arc<StoredResponse>,
        not_modified: &HeaderMap,
        asked: &Asked,
        request: &dyn Headers,
        (times, purges): ((i64, i64), u64),
    ) -> (Arc<StoredResponse>, bool) {
        let Some(headers) = stored.refreshed(not_modified) else {
            // About another response, so the next request asks without a condition.
            self.store.remove(stored);
            return (Arc::clone(stored), false);
        };
        let asked_for = (&stored.key, asked);
        let refreshed = self.head(asked_for, (stored.status, &headers), request, times);
        let Some(mut refreshed) = refreshed else {
            self.store.remove(stored);
            return (Arc::clone(stored), false);
        };
        refreshed.body = stored.body.clone();
        let refreshed = Arc::new(refreshed);
        let most = self.settings.max_variants;
        let is_stored = self.store.insert(&refreshed, purges, most);
        if !is_stored {
            self.store.remove(stored);
        }
        (refreshed, is_stored)
    }
}
