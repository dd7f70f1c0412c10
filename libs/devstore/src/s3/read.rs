//! Reads objects.

use std::io::{Seek as _, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use http::header::{CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Uri};
use s3s::dto::{
    ChecksumMode, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, StreamingBlob,
};
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::headers::{KEPT, header_map, refuse_version};
use super::{Answer, wire};
use crate::access::query;
use crate::disk::{Conditions, Internal as _, Object, Store, blocking};

/// The size of a body chunk.
const READ_BYTES: usize = 128 * 1024;

pub(super) async fn get(
    store: Arc<Store>,
    request: S3Request<GetObjectInput>,
) -> Answer<GetObjectOutput> {
    let input = request.input;
    refuse_version(input.version_id.as_deref())?;
    if input.part_number.is_some() {
        return Err(s3_error!(
            NotImplemented,
            "Reading by part number is not supported"
        ));
    }
    let conditions = Conditions {
        if_match: input.if_match,
        if_unmodified_since: input.if_unmodified_since,
        if_none_match: input.if_none_match,
        if_modified_since: input.if_modified_since,
    };
    let is_enabled = |mode: ChecksumMode| mode.as_str() == ChecksumMode::ENABLED;
    let checksums = input.checksum_mode.is_some_and(is_enabled) && store.keeps_checksums();
    blocking(move || {
        let object = store.bucket(&input.bucket)?.get(&input.key)?;
        conditions.check_read(&object.meta)?;
        let size = object.meta.size;
        let range = match &input.range {
            Some(range) => range.check(size).map_err(|_| not_satisfiable(size))?,
            None => 0..size,
        };
        let partial = input.range.is_some();
        let mut headers = header_map(&object.meta.headers);
        if checksums && !partial {
            headers.extend(header_map(&object.meta.checksums));
        }
        headers.extend(overrides(&request.uri));
        let (first, last) = (range.start, range.end.saturating_sub(1));
        let output = GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(wire(range.end - range.start)),
            content_range: partial.then(|| format!("bytes {first}-{last}/{size}")),
            e_tag: Some(object.meta.etag()),
            last_modified: Some(object.meta.modified()),
            body: Some(stream(object, &range)?),
            ..Default::default()
        };
        Ok(S3Response::with_headers(output, headers))
    })
    .await
}

/// A GET without the body.
pub(super) async fn head(
    store: Arc<Store>,
    request: S3Request<HeadObjectInput>,
) -> Answer<HeadObjectOutput> {
    let request = request.map_input(|input| GetObjectInput {
        bucket: input.bucket,
        key: input.key,
        checksum_mode: input.checksum_mode,
        if_match: input.if_match,
        if_modified_since: input.if_modified_since,
        if_none_match: input.if_none_match,
        if_unmodified_since: input.if_unmodified_since,
        part_number: input.part_number,
        range: input.range,
        version_id: input.version_id,
        ..Default::default()
    });
    let response = get(store, request).await?;
    Ok(response.map_output(|output| HeadObjectOutput {
        accept_ranges: output.accept_ranges,
        content_length: output.content_length,
        content_range: output.content_range,
        e_tag: output.e_tag,
        last_modified: output.last_modified,
        ..Default::default()
    }))
}

/// The headers that a signed URL wants changed, such as `response-content-type`.
fn overrides(uri: &Uri) -> HeaderMap {
    let changed = query(uri).filter_map(|(name, value)| {
        let name = name.strip_prefix("response-")?.parse().ok()?;
        let value = HeaderValue::from_str(&value).ok()?;
        KEPT.contains(&name).then_some((name, value))
    });
    changed.collect()
}

fn not_satisfiable(size: u64) -> S3Error {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
        headers.insert(CONTENT_RANGE, value);
    }
    let mut error = s3_error!(InvalidRange, "The range is not satisfiable");
    error.set_headers(headers);
    error
}

/// The content in chunks.
fn stream(mut object: Object, range: &Range<u64>) -> S3Result<StreamingBlob> {
    object.file.seek(SeekFrom::Start(range.start)).internal()?;
    let file = tokio::fs::File::from_std(object.file).take(range.end - range.start);
    Ok(StreamingBlob::wrap(ReaderStream::with_capacity(
        file, READ_BYTES,
    )))
}
