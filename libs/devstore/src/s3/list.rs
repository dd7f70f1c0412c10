//! Lists objects by prefix and delimiter, and open uploads.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{
    CommonPrefix, EncodingType, ListMultipartUploadsInput, ListMultipartUploadsOutput,
    ListObjectsV2Input, ListObjectsV2Output, MultipartUpload, Object, ObjectStorageClass,
};
use s3s::{S3Request, S3Result, s3_error};

use super::wire;
use crate::disk::{ObjectMetadata, Store, Upload, blocking, timestamp};

const PAGE_LIMIT: i32 = 1000;
/// The characters that `encoding-type=url` does not encode.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/');

pub(super) async fn objects(
    store: Arc<Store>,
    request: S3Request<ListObjectsV2Input>,
) -> S3Result<ListObjectsV2Output> {
    let input = request.input;
    let limit = page_limit(input.max_keys)?;
    let marker = match &input.continuation_token {
        Some(token) => decode_token(token)?,
        None => input.start_after.clone().unwrap_or_default(),
    };
    let prefix = input.prefix.clone().unwrap_or_default();
    let delimiter = input.delimiter.clone().unwrap_or_default();
    let page = blocking({
        let bucket = input.bucket.clone();
        let prefix = prefix.clone();
        move || {
            let found = store.bucket(&bucket)?.list(&prefix)?;
            Ok(Page::cut(found, &prefix, &delimiter, &marker, limit))
        }
    })
    .await?;
    Ok(output(input, page, limit))
}

pub(super) async fn uploads(
    store: Arc<Store>,
    request: S3Request<ListMultipartUploadsInput>,
) -> S3Result<ListMultipartUploadsOutput> {
    let input = request.input;
    if input.delimiter.as_deref().is_some_and(|it| !it.is_empty()) {
        return Err(s3_error!(
            NotImplemented,
            "A delimiter is not supported here"
        ));
    }
    let limit = page_limit(input.max_uploads)?;
    let bucket = input.bucket.clone();
    let all = blocking(move || store.bucket(&bucket)?.list_uploads()).await?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let mut rest = after_marker(all, &input).filter(|upload| upload.key.starts_with(&prefix));
    let page: Vec<Upload> = rest.by_ref().take(limit).collect();
    let truncated = rest.next().is_some();
    let last = page.last().filter(|_| truncated);
    let url = is_url(input.encoding_type.as_ref());
    Ok(ListMultipartUploadsOutput {
        next_key_marker: last.map(|upload| encoded(&upload.key, url)),
        next_upload_id_marker: last.map(|upload| upload.id.clone()),
        bucket: Some(input.bucket),
        encoding_type: input.encoding_type,
        is_truncated: Some(truncated),
        key_marker: input.key_marker.map(|key| encoded(&key, url)),
        max_uploads: i32::try_from(limit).ok(),
        prefix: input.prefix.map(|prefix| encoded(&prefix, url)),
        upload_id_marker: input.upload_id_marker,
        uploads: Some(
            page.into_iter()
                .map(|upload| listed_upload(&upload, url))
                .collect(),
        ),
        ..Default::default()
    })
}

/// The uploads after the marker. Uploads of one key are ordered by creation.
fn after_marker(
    all: Vec<Upload>,
    input: &ListMultipartUploadsInput,
) -> impl Iterator<Item = Upload> + use<> {
    let key = input.key_marker.clone().unwrap_or_default();
    let id = input.upload_id_marker.clone();
    let created = id.and_then(|id| {
        all.iter()
            .find(|upload| upload.id == id)
            .map(|upload| (upload.created_ms, id))
    });
    all.into_iter().filter(move |upload| {
        if key.is_empty() || upload.key > key {
            return true;
        }
        upload.key == key
            && created.as_ref().is_some_and(|(ms, id)| {
                (upload.created_ms, upload.id.as_str()) > (*ms, id.as_str())
            })
    })
}

fn listed_upload(upload: &Upload, url: bool) -> MultipartUpload {
    MultipartUpload {
        initiated: Some(timestamp(upload.created_ms)),
        key: Some(encoded(&upload.key, url)),
        upload_id: Some(upload.id.clone()),
        ..Default::default()
    }
}

#[derive(Default)]
struct Page {
    contents: Vec<(String, ObjectMetadata)>,
    prefixes: Vec<String>,
    next: Option<String>,
}

impl Page {
    /// The first `limit` entries after `marker`; an entry is a key or a common prefix.
    fn cut(
        found: std::collections::BTreeMap<String, ObjectMetadata>,
        prefix: &str,
        delimiter: &str,
        marker: &str,
        limit: usize,
    ) -> Self {
        let mut page = Self::default();
        let mut last = String::new();
        for (key, meta) in found.into_iter().filter(|(key, _)| key.as_str() > marker) {
            let common = common_prefix(&key, prefix, delimiter);
            // Below a common prefix that this page or the one before contains already.
            if let Some(common) = &common
                && (common.as_str() <= marker || page.prefixes.last() == Some(common))
            {
                continue;
            }
            if page.contents.len() + page.prefixes.len() == limit {
                page.next = (limit > 0).then_some(last);
                return page;
            }
            last = common.clone().unwrap_or_else(|| key.clone());
            match common {
                Some(common) => page.prefixes.push(common),
                None => page.contents.push((key, meta)),
            }
        }
        page
    }
}

fn common_prefix(key: &str, prefix: &str, delimiter: &str) -> Option<String> {
    let rest = key.get(prefix.len()..).filter(|_| !delimiter.is_empty())?;
    let end = rest.find(delimiter)? + prefix.len() + delimiter.len();
    Some(key[..end].to_owned())
}

fn output(input: ListObjectsV2Input, page: Page, limit: usize) -> ListObjectsV2Output {
    let url = is_url(input.encoding_type.as_ref());
    let count = page.contents.len() + page.prefixes.len();
    let object = |(key, meta): (String, ObjectMetadata)| Object {
        e_tag: Some(meta.etag()),
        key: Some(encoded(&key, url)),
        last_modified: Some(meta.modified()),
        size: Some(wire(meta.size)),
        storage_class: Some(ObjectStorageClass::from_static(
            ObjectStorageClass::STANDARD,
        )),
        ..Default::default()
    };
    let common = |prefix: String| CommonPrefix {
        prefix: Some(encoded(&prefix, url)),
    };
    ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: input.prefix.map(|prefix| encoded(&prefix, url)),
        max_keys: i32::try_from(limit).ok(),
        key_count: i32::try_from(count).ok(),
        continuation_token: input.continuation_token,
        is_truncated: Some(page.next.is_some()),
        next_continuation_token: page.next.map(|next| URL_SAFE_NO_PAD.encode(next)),
        contents: Some(page.contents.into_iter().map(object).collect()),
        common_prefixes: Some(page.prefixes.into_iter().map(common).collect()),
        delimiter: input.delimiter.map(|delimiter| encoded(&delimiter, url)),
        encoding_type: input.encoding_type,
        start_after: input.start_after.map(|key| encoded(&key, url)),
        request_charged: None,
    }
}

fn decode_token(token: &str) -> S3Result<String> {
    URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| s3_error!(InvalidArgument, "The continuation token is invalid"))
}

pub(super) fn page_limit(asked: Option<i32>) -> S3Result<usize> {
    usize::try_from(asked.unwrap_or(PAGE_LIMIT).min(PAGE_LIMIT))
        .map_err(|_| s3_error!(InvalidArgument, "The page size must not be negative"))
}

fn is_url(encoding: Option<&EncodingType>) -> bool {
    encoding.is_some_and(|encoding| encoding.as_str() == EncodingType::URL)
}

fn encoded(text: &str, url: bool) -> String {
    if url {
        utf8_percent_encode(text, PLAIN).to_string()
    } else {
        text.to_owned()
    }
}
