//! Conditional headers, in the order of RFC 9110 section 13.2.2.

use http::{HeaderMap, HeaderValue};
use s3s::dto::{ETagCondition, Timestamp};
use s3s::{S3Error, S3Result, s3_error};

use crate::disk::Meta;

/// The four conditions of a read.
pub(super) struct Read<'a> {
    pub(super) if_match: Option<&'a ETagCondition>,
    pub(super) if_none_match: Option<&'a ETagCondition>,
    pub(super) if_modified_since: Option<&'a Timestamp>,
    pub(super) if_unmodified_since: Option<&'a Timestamp>,
}

impl Read<'_> {
    /// `PreconditionFailed`, `NotModified`, or nothing to object.
    pub(super) fn check(&self, meta: &Meta) -> S3Result<()> {
        match (self.if_match, self.if_unmodified_since) {
            (Some(condition), _) if !covers(condition, meta) => return Err(failed("If-Match")),
            (None, Some(time)) if modified_after(meta, time) => {
                return Err(failed("If-Unmodified-Since"));
            }
            _ => {}
        }
        match (self.if_none_match, self.if_modified_since) {
            (Some(condition), _) if covers(condition, meta) => Err(not_modified(meta)),
            (None, Some(time)) if !modified_after(meta, time) => Err(not_modified(meta)),
            _ => Ok(()),
        }
    }
}

/// The two conditions of a write, against the object that is there.
pub(super) fn check_write(
    present: Option<&Meta>,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<()> {
    if let Some(condition) = if_match {
        match present {
            None => return Err(s3_error!(NoSuchKey, "The specified key does not exist.")),
            Some(meta) if !covers(condition, meta) => return Err(failed("If-Match")),
            Some(_) => {}
        }
    }
    if let Some(condition) = if_none_match
        && present.is_some_and(|meta| covers(condition, meta))
    {
        return Err(failed("If-None-Match"));
    }
    Ok(())
}

pub(super) fn failed(condition: &str) -> S3Error {
    s3_error!(
        PreconditionFailed,
        "At least one of the pre-conditions you specified did not hold: {}",
        condition
    )
}

fn covers(condition: &ETagCondition, meta: &Meta) -> bool {
    condition
        .as_etag()
        .is_none_or(|etag| etag.value() == meta.etag)
}

/// HTTP dates have whole seconds, so the object's time is cut to them first.
fn modified_after(meta: &Meta, time: &Timestamp) -> bool {
    let seconds = meta.modified_ms / 1000;
    let cut = Timestamp::from(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds));
    cut > *time
}

fn not_modified(meta: &Meta) -> S3Error {
    let mut error = s3_error!(NotModified);
    let mut headers = HeaderMap::new();
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", meta.etag)) {
        headers.insert(http::header::ETAG, etag);
    }
    error.set_headers(headers);
    error
}
