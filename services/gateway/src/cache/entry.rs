//! A stored response, and the answers that are made of it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::{
    control::{RequestControl, ResponseControl},
    freshness::{Times, Use},
    key::Key,
    ranges::{self, Part},
    validators,
    variance::{self, Compared},
};
use crate::{reply::Reply, request::Headers};

/// What an entry takes beside its bytes: tables, counts, pointers.
const OVERHEAD_BYTES: usize = 512;
/// And each field.
const FIELD_BYTES: usize = 96;

/// A response that may answer further requests.
#[derive(Debug)]
pub(crate) struct StoredResponse {
    pub(super) key: Key,
    pub(super) compared: Box<[Compared]>,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) control: ResponseControl,
    pub(super) times: Times,
    pub(super) tags: Box<[Box<str>]>,
}

/// The stored responses of one URL, the latest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Resource(pub(super) Vec<Arc<StoredResponse>>);

impl StoredResponse {
    /// Whether it answers requests like this one, apart from its age.
    pub(crate) fn matches(&self, key: &Key, request: &dyn Headers) -> bool {
        self.key.partition == key.partition && variance::matches(&self.compared, request)
    }

    /// Whether both answer the same requests.
    fn has_place_of(&self, other: &Self) -> bool {
        self.key.partition == other.key.partition && self.compared == other.compared
    }

    pub(crate) fn usable(&self, request: &RequestControl, now: i64) -> Use {
        self.times.usable(&self.control, request, now)
    }

    pub(crate) fn ttl(&self, now: i64) -> i64 {
        self.times.ttl(now)
    }

    /// It may answer a request with `Authorization`.
    pub(crate) fn allows_authorized(&self) -> bool {
        self.control.allows_authorized()
    }

    /// It may answer requests that waited for it.
    pub(crate) fn is_reusable(&self) -> bool {
        self.times.lifetime > 0 && !self.control.no_cache
    }

    pub(super) fn size_bytes(&self) -> usize {
        let fields = self.headers.iter();
        let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES);
        let tags = self.tags.iter().map(|tag| tag.len() + 16);
        let compared = self.compared.iter();
        let compared = compared.map(|(_, value)| value.as_deref().map_or(0, <[u8]>::len) + 64);
        let key = self.key.url.len() + self.key.partition.len();
        let extra: usize = fields.chain(tags).chain(compared).sum();
        OVERHEAD_BYTES + key + extra + self.body.len()
    }

    /// What asks the upstream whether it is still valid.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let of = |field, condition| {
            let value = self.headers.get(field);
            value.map(|value| (condition, value.clone()))
        };
        let etag = of(header::ETAG, header::IF_NONE_MATCH);
        let modified = of(header::LAST_MODIFIED, header::IF_MODIFIED_SINCE);
        etag.into_iter().chain(modified)
    }

    /// The response with the fields of a 304 about it. `None`: the 304 is about another one.
    pub(super) fn refreshed(&self, not_modified: &HeaderMap) -> Option<HeaderMap> {
        validators::confirms(&self.headers, not_modified)
            .then(|| validators::refreshed(&self.headers, not_modified))
    }

    /// The answer to a request: whole, a range, 304 or 416.
    pub(crate) fn reply(&self, method: &Method, request: &dyn Headers, now: i64) -> Reply {
        if validators::is_not_modified(self.status, &self.headers, request) {
            return self.not_modified(now);
        }
        let has_range = *method == Method::GET && self.status == StatusCode::OK;
        let range = request.first(&header::RANGE).filter(|_| has_range);
        let range = range.filter(|_| validators::range_applies(&self.headers, request));
        let length = self.body.len();
        let (status, body, content_range) = match ranges::part(range, length) {
            Part::Whole => (self.status, self.body.clone(), None),
            Part::Range(range) => {
                let text = format!("bytes {}-{}/{length}", range.start, range.end - 1);
                (
                    StatusCode::PARTIAL_CONTENT,
                    self.body.slice(range),
                    Some(text),
                )
            }
            Part::Unsatisfiable => {
                let text = format!("bytes */{length}");
                (StatusCode::RANGE_NOT_SATISFIABLE, Bytes::new(), Some(text))
            }
        };
        let mut headers = Vec::with_capacity(self.headers.len() + 3);
        let of_body = status != StatusCode::RANGE_NOT_SATISFIABLE;
        let fields = self.headers.iter();
        let fields = fields.filter(|(name, _)| of_body || !is_of_body(name));
        headers.extend(fields.map(|(name, value)| (name.clone(), value.clone())));
        headers.push((header::AGE, self.times.age(now).into()));
        if let Some(text) = content_range
            && let Ok(value) = HeaderValue::try_from(text)
        {
            headers.push((header::CONTENT_RANGE, value));
        }
        Reply {
            status,
            headers,
            body,
            file: None,
        }
    }

    fn not_modified(&self, now: i64) -> Reply {
        let fields = self.headers.iter();
        let fields = fields.filter(|(name, _)| !is_of_body(name));
        let mut headers: Vec<_> = fields
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        headers.push((header::AGE, self.times.age(now).into()));
        Reply {
            status: StatusCode::NOT_MODIFIED,
            headers,
            body: Bytes::new(),
            file: None,
        }
    }
}

/// Fields about a body that is not sent.
fn is_of_body(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONTENT_TYPE
            | header::CONTENT_ENCODING
            | header::CONTENT_LANGUAGE
            | header::CONTENT_LENGTH
            | header::CONTENT_RANGE
    )
}

impl Resource {
    pub(super) fn find(&self, key: &Key, request: &dyn Headers) -> Option<Arc<StoredResponse>> {
        let mut stored = self.0.iter();
        stored.find(|stored| stored.matches(key, request)).cloned()
    }

    /// With one more response; the oldest of more than `most` are dropped.
    pub(super) fn with(&self, stored: Arc<StoredResponse>, most: usize) -> Self {
        let others = self.0.iter().filter(|other| !other.has_place_of(&stored));
        let others = others.take(most.saturating_sub(1)).cloned();
        let mut all = Vec::with_capacity(self.0.len() + 1);
        all.push(Arc::clone(&stored));
        all.extend(others);
        Self(all)
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.0.iter().map(|stored| stored.size_bytes()).sum()
    }
}
