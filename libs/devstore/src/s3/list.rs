//! Lists objects by prefix and delimiter.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{
    CommonPrefix, EncodingType, ListObjectsV2Input, ListObjectsV2Output, Object, ObjectStorageClass,
};
use s3s::{S3Response, S3Result, s3_error};

use super::{Answer, wire};
use crate::disk::{Internal as _, Metadata, Store, blocking};

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
    input: ListObjectsV2Input,
) -> Answer<ListObjectsV2Output> {
    let limit = input.max_keys.unwrap_or(PAGE_LIMIT).min(PAGE_LIMIT);
    let limit = usize::try_from(limit)
        .map_err(|_| s3_error!(InvalidArgument, "The page size must not be negative"))?;
    let marker = match &input.continuation_token {
        Some(token) => decode_token(token)?,
        None => input.start_after.clone().unwrap_or_default(),
    };
    blocking(move || {
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let delimiter = input.delimiter.as_deref().unwrap_or_default();
        let found = store.bucket(&input.bucket)?.list(prefix).internal()?;
        let page = Page::cut(found, prefix, delimiter, &marker, limit);
        Ok(S3Response::new(output(input, page, limit)))
    })
    .await
}

#[derive(Default)]
struct Page {
    contents: Vec<Metadata>,
    prefixes: Vec<String>,
    next: Option<String>,
}

impl Page {
    /// The first `limit` entries after `marker`; an entry is a key or a common prefix.
    fn cut(
        found: BTreeMap<String, Metadata>,
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
            last = common.clone().unwrap_or(key);
            match common {
                Some(common) => page.prefixes.push(common),
                None => page.contents.push(meta),
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
    let encoding = input.encoding_type.as_ref();
    let is_url = encoding.is_some_and(|encoding| encoding.as_str() == EncodingType::URL);
    let encoded = |text: String| {
        if is_url {
            utf8_percent_encode(&text, PLAIN).to_string()
        } else {
            text
        }
    };
    let object = |meta: Metadata| Object {
        e_tag: Some(meta.etag()),
        last_modified: Some(meta.modified()),
        size: Some(wire(meta.size)),
        key: Some(encoded(meta.key)),
        storage_class: Some(ObjectStorageClass::from_static(
            ObjectStorageClass::STANDARD,
        )),
        ..Default::default()
    };
    let common = |prefix| CommonPrefix {
        prefix: Some(encoded(prefix)),
    };
    ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: input.prefix.map(encoded),
        max_keys: i32::try_from(limit).ok(),
        key_count: i32::try_from(page.contents.len() + page.prefixes.len()).ok(),
        continuation_token: input.continuation_token,
        is_truncated: Some(page.next.is_some()),
        next_continuation_token: page.next.map(|next| URL_SAFE_NO_PAD.encode(next)),
        contents: Some(page.contents.into_iter().map(object).collect()),
        common_prefixes: Some(page.prefixes.into_iter().map(common).collect()),
        delimiter: input.delimiter.map(encoded),
        encoding_type: input.encoding_type,
        start_after: input.start_after.map(encoded),
        request_charged: None,
    }
}

fn decode_token(token: &str) -> S3Result<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| s3_error!(InvalidArgument, "The continuation token is invalid"))
}
