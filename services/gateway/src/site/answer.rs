//! The response made of a file: whole, a range, or what the conditions of the request demand.

use std::{
    ops::Range,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use tokio::sync::Semaphore;

use super::{
    asked::Asked,
    directory::{OpenResult, open_file},
    entry::{Entry, Variant},
    look::{SiteError, look},
    precompressed::Chosen,
    release::Release,
    validators,
};
use crate::{
    cache::{Part, is_not_modified, part, range_applies},
    reply::{FileBody, Reply},
    routing::Coding,
};

/// Files that are being sent at once, of all sites.
const MAX_OPEN_FILES: usize = 1024;

static OPEN_FILES: LazyLock<Arc<Semaphore>> =
    LazyLock::new(|| Arc::new(Semaphore::new(MAX_OPEN_FILES)));

/// A file to answer with, and the status.
pub(super) struct Target {
    pub(super) release: Arc<Release>,
    pub(super) entry: Arc<Entry>,
    /// Of the response: 200, or 404 with a page for that.
    pub(super) is_missing: bool,
}

/// A response but for its body.
struct Head {
    reply: Reply,
    /// What of the variant is sent.
    body: Option<Range<u64>>,
}

/// The path with a slash at its end.
pub(super) fn redirect(asked: &Asked<'_>) -> Reply {
    let location = format!("{}/{}", asked.path, asked.query);
    let reply = Reply::ok(HeaderValue::from_static("text/plain"), Bytes::new())
        .status(StatusCode::MOVED_PERMANENTLY)
        .header(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // The path has no slash at its end, and in its one spelling no two in a row.
    match HeaderValue::try_from(location) {
        Ok(location) => reply.header(header::LOCATION, location),
        Err(_) => reply,
    }
}

/// `None`: the file has to be opened, or compressed.
pub(super) fn from_memory(target: &Target, asked: &Asked<'_>) -> Option<Reply> {
    let Chosen::Variant(coding, variant) = target.entry.choose(asked) else {
        return None;
    };
    let head = head(target, coding, variant, asked);
    let Some(range) = head.body else {
        return Some(head.reply);
    };
    let contents = variant.contents.as_ref()?;
    let at = |place: u64| usize::try_from(place).ok();
    let mut reply = head.reply;
    reply.body = contents.slice(at(range.start)?..at(range.end)?);
    Some(reply)
}

/// `None`: the file is another one by now.
///
/// # Errors
/// When it cannot be opened.
pub(super) async fn answer(target: &Target, asked: &Asked<'_>) -> Result<Option<Reply>, SiteError> {
    if let Chosen::Unmade(coding) = target.entry.choose(asked)
        && let Some(compressor) = target.entry.compressor(asked)
    {
        let (entry, encode) = (Arc::clone(&target.entry), compressor.encode);
        let level = compressor.settings.level;
        look(move || entry.encode(coding, |contents| encode(coding, level, contents))).await?;
    }
    if let Some(reply) = from_memory(target, asked) {
        return Ok(Some(reply));
    }
    let Chosen::Variant(coding, variant) = target.entry.choose(asked) else {
        return Ok(None);
    };
    let Head { mut reply, body } = head(target, coding, variant, asked);
    let Some(range) = body else {
        return Ok(Some(reply));
    };
    let permit = Arc::clone(&OPEN_FILES).try_acquire_owned();
    let permit = permit.map_err(|_| SiteError::TooManyOpen)?;
    let (directory, name) = (Arc::clone(&target.release.directory), variant.name.clone());
    let opened = look(move || open_file(&directory, &name)).await?;
    let file = match opened.map_err(SiteError::File)? {
        OpenResult::File(file, stamp) if stamp == variant.stamp => file,
        _ => return Ok(None),
    };
    reply.file = Some(Box::new(FileBody::new(file, range, permit)));
    Ok(Some(reply))
}

fn head(target: &Target, coding: Option<Coding>, variant: &Variant, asked: &Asked<'_>) -> Head {
    let (status, body, content_range) = if target.is_missing {
        (StatusCode::NOT_FOUND, Some(0..variant.length), None)
    } else {
        condition(variant, asked)
    };
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::with_capacity(9);
    let is_sent = body.is_some();
    if is_sent {
        headers.push((header::CONTENT_TYPE, target.entry.content_type.clone()));
        let nosniff = HeaderValue::from_static("nosniff");
        headers.push((header::X_CONTENT_TYPE_OPTIONS, nosniff));
        if let Some(coding) = coding {
            let name = HeaderValue::from_static(coding.name());
            headers.push((header::CONTENT_ENCODING, name));
        }
    }
    if !target.is_missing && status != StatusCode::RANGE_NOT_SATISFIABLE {
        let fields = variant.validators.iter();
        headers.extend(fields.map(|(name, value)| (name.clone(), value.clone())));
        let bytes = HeaderValue::from_static("bytes");
        headers.push((header::ACCEPT_RANGES, bytes));
    }
    let cache = target.entry.cache.value(asked.is_private);
    headers.push((header::CACHE_CONTROL, cache));
    if target.entry.varies(asked) {
        let vary = HeaderValue::from_static("accept-encoding");
        headers.push((header::VARY, vary));
    }
    headers.extend(content_range.map(|value| (header::CONTENT_RANGE, value)));
    Head {
        reply: Reply {
            status,
            headers,
            body: Bytes::new(),
            file: None,
        },
        body,
    }
}

/// The status, what of the file is sent, and its place within the whole (RFC 9110, 13.2.2).
fn condition(
    variant: &Variant,
    asked: &Asked<'_>,
) -> (StatusCode, Option<Range<u64>>, Option<HeaderValue>) {
    let length = variant.length;
    if validators::is_refused(&variant.validators, asked.headers) {
        return (StatusCode::PRECONDITION_FAILED, None, None);
    }
    if is_not_modified(StatusCode::OK, &variant.validators, asked.headers) {
        return (StatusCode::NOT_MODIFIED, None, None);
    }
    let range = asked.headers.first(&header::RANGE);
    let range = range.filter(|_| *asked.method == Method::GET);
    let range = range.filter(|_| range_applies(&variant.validators, asked.headers));
    let value = |text: String| HeaderValue::try_from(text).ok();
    // Files are no longer than addresses reach.
    match part(range, usize::try_from(length).unwrap_or(usize::MAX)) {
        Part::Whole => (StatusCode::OK, Some(0..length), None),
        Part::Range(range) => {
            let text = format!("bytes {}-{}/{length}", range.start, range.end - 1);
            let range = range.start as u64..range.end as u64;
            (StatusCode::PARTIAL_CONTENT, Some(range), value(text))
        }
        Part::Unsatisfiable => {
            let text = format!("bytes */{length}");
            (StatusCode::RANGE_NOT_SATISFIABLE, None, value(text))
        }
    }
}
