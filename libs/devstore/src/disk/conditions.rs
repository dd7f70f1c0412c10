//! Conditional headers, in the order of RFC 9110 section 13.2.2.

use http::header::{CACHE_CONTROL, ETAG};
use http::{HeaderMap, HeaderValue};
use s3s::dto::{ETagCondition, Timestamp};
use s3s::{S3Error, S3Result, s3_error};

use super::object::Metadata;

/// Conditions on the object that a request reads, or would replace.
#[derive(Default)]
pub(crate) struct Conditions {
    pub(crate) if_match: Option<ETagCondition>,
    pub(crate) if_unmodified_since: Option<Timestamp>,
    pub(crate) if_none_match: Option<ETagCondition>,
    pub(crate) if_modified_since: Option<Timestamp>,
}

impl Conditions {
    /// Fails with `PreconditionFailed` or `NotModified`.
    pub(crate) fn check_read(&self, meta: &Metadata) -> S3Result<()> {
        match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) if !is_exactly(condition, meta) => return Err(failed("If-Match")),
            (None, Some(time)) if meta.modified() > *time => {
                return Err(failed("If-Unmodified-Since"));
            }
            _ => {}
        }
        match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) if covers(condition, meta) => Err(not_modified(meta)),
            (None, Some(time)) if meta.modified() <= *time => Err(not_modified(meta)),
            _ => Ok(()),
        }
    }

    /// Fails with `PreconditionFailed`, or `NoSuchKey` where nothing can match.
    pub(super) fn check_write(&self, present: Option<&Metadata>) -> S3Result<()> {
        let Some(meta) = present else {
            return match self.if_match {
                Some(_) => Err(s3_error!(NoSuchKey, "The specified key does not exist.")),
                None => Ok(()),
            };
        };
        match (&self.if_match, &self.if_none_match) {
            (Some(condition), _) if !is_exactly(condition, meta) => Err(failed("If-Match")),
            (_, Some(condition)) if covers(condition, meta) => Err(failed("If-None-Match")),
            _ => Ok(()),
        }
    }
}

pub(crate) fn failed(condition: &str) -> S3Error {
    s3_error!(
        PreconditionFailed,
        "A precondition does not hold: {}",
        condition
    )
}

fn is_exactly(condition: &ETagCondition, meta: &Metadata) -> bool {
    let etag = condition.as_etag();
    etag.is_none_or(|etag| etag.strong_cmp(&meta.etag()))
}

fn covers(condition: &ETagCondition, meta: &Metadata) -> bool {
    let etag = condition.as_etag();
    etag.is_none_or(|etag| etag.weak_cmp(&meta.etag()))
}

fn not_modified(meta: &Metadata) -> S3Error {
    let mut headers = HeaderMap::new();
    if let Ok(etag) = meta.etag().to_http_header() {
        headers.insert(ETAG, etag);
    }
    let cache = meta.headers.get(CACHE_CONTROL.as_str());
    if let Some(Ok(cache)) = cache.map(|value| HeaderValue::from_str(value)) {
        headers.insert(CACHE_CONTROL, cache);
    }
    let mut error = s3_error!(NotModified);
    error.set_headers(headers);
    error
}
