//! Conditional headers, in the order of RFC 9110 section 13.2.2.

use http::header::{CACHE_CONTROL, ETAG};
use http::{HeaderMap, HeaderValue};
use s3s::dto::{ETagCondition, Timestamp};
use s3s::{S3Error, S3Result, s3_error};

use super::record::ObjectMetadata;

/// Conditions of a read.
#[derive(Default)]
pub(crate) struct ReadConditions {
    pub(crate) if_match: Option<ETagCondition>,
    pub(crate) if_unmodified_since: Option<Timestamp>,
    pub(crate) if_none_match: Option<ETagCondition>,
    pub(crate) if_modified_since: Option<Timestamp>,
}

impl ReadConditions {
    /// Fails with `PreconditionFailed` or `NotModified`.
    pub(crate) fn check(&self, meta: &ObjectMetadata) -> S3Result<()> {
        // Dates on the wire have whole seconds.
        let modified = meta.modified_to_the_second();
        match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) if !is_exactly(condition, meta) => return Err(failed("If-Match")),
            (None, Some(time)) if modified > *time => return Err(failed("If-Unmodified-Since")),
            _ => {}
        }
        match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) if covers(condition, meta) => Err(not_modified(meta)),
            (None, Some(time)) if modified <= *time => Err(not_modified(meta)),
            _ => Ok(()),
        }
    }
}

/// Conditions of a write, on the object that it would replace.
#[derive(Default)]
pub(crate) struct WriteConditions {
    pub(crate) if_match: Option<ETagCondition>,
    pub(crate) if_none_match: Option<ETagCondition>,
}

impl WriteConditions {
    /// Fails with `PreconditionFailed`, or `NoSuchKey` where nothing can match.
    pub(super) fn check(&self, present: Option<&ObjectMetadata>) -> S3Result<()> {
        match (&self.if_match, present) {
            (Some(_), None) => {
                return Err(s3_error!(NoSuchKey, "The specified key does not exist."));
            }
            (Some(condition), Some(meta)) if !is_exactly(condition, meta) => {
                return Err(failed("If-Match"));
            }
            _ => {}
        }
        match (&self.if_none_match, present) {
            (Some(condition), Some(meta)) if covers(condition, meta) => {
                Err(failed("If-None-Match"))
            }
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

fn is_exactly(condition: &ETagCondition, meta: &ObjectMetadata) -> bool {
    condition
        .as_etag()
        .is_none_or(|etag| etag.strong_cmp(&meta.etag()))
}

fn covers(condition: &ETagCondition, meta: &ObjectMetadata) -> bool {
    condition
        .as_etag()
        .is_none_or(|etag| etag.weak_cmp(&meta.etag()))
}

fn not_modified(meta: &ObjectMetadata) -> S3Error {
    let mut headers = HeaderMap::new();
    if let Ok(etag) = meta.etag().to_http_header() {
        headers.insert(ETAG, etag);
    }
    let cache = meta
        .headers
        .cache_control
        .as_deref()
        .map(HeaderValue::from_str);
    if let Some(Ok(cache)) = cache {
        headers.insert(CACHE_CONTROL, cache);
    }
    let mut error = s3_error!(NotModified);
    error.set_headers(headers);
    error
}
