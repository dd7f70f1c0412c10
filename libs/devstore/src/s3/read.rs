//! Reading objects.

use std::io::{Seek as _, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use http::header::{CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use s3s::dto::{
    ChecksumMode, ChecksumType, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput,
    StreamingBlob,
};
use s3s::{S3Error, S3Request, S3Result, s3_error};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::conditions::ForRead;
use super::headers::{refuse_version, set_checksums};
use super::wire;
use crate::disk::{Meta, Record, Store, blocking};

/// One piece of a body on its way out.
const READ_BYTES: usize = 128 * 1024;

/// Where an object is, and what must hold for it.
struct Wanted {
    bucket: String,
    key: String,
    conditions: ForRead,
    range: Option<s3s::dto::Range>,
    checksums: bool,
}

pub(super) async fn get(
    store: &Arc<Store>,
    request: S3Request<GetObjectInput>,
) -> S3Result<GetObjectOutput> {
    let input = request.input;
    refuse_version(input.version_id.as_deref())?;
    refuse_part(input.part_number)?;
    let wanted = Wanted {
        bucket: input.bucket,
        key: input.key,
        conditions: ForRead {
            if_match: input.if_match,
            if_unmodified_since: input.if_unmodified_since,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
        },
        range: input.range,
        checksums: is_enabled(input.checksum_mode.as_ref()),
    };
    let (record, range, head) = open(store, wanted).await?;
    let body = stream(record, range);
    Ok(GetObjectOutput {
        body: Some(body),
        accept_ranges: head.accept_ranges,
        cache_control: head.cache_control,
        checksum_crc32: head.checksum_crc32,
        checksum_crc32c: head.checksum_crc32c,
        checksum_crc64nvme: head.checksum_crc64nvme,
        checksum_sha1: head.checksum_sha1,
        checksum_sha256: head.checksum_sha256,
        checksum_type: head.checksum_type,
        content_disposition: head.content_disposition,
        content_encoding: head.content_encoding,
        content_language: head.content_language,
        content_length: head.content_length,
        content_range: head.content_range,
        content_type: head.content_type,
        e_tag: head.e_tag,
        expires: head.expires,
        last_modified: head.last_modified,
        metadata: head.metadata,
        ..Default::default()
    })
}

pub(super) async fn head(
    store: &Arc<Store>,
    request: S3Request<HeadObjectInput>,
) -> S3Result<HeadObjectOutput> {
    let input = request.input;
    refuse_version(input.version_id.as_deref())?;
    refuse_part(input.part_number)?;
    let wanted = Wanted {
        bucket: input.bucket,
        key: input.key,
        conditions: ForRead {
            if_match: input.if_match,
            if_unmodified_since: input.if_unmodified_since,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
        },
        range: input.range,
        checksums: is_enabled(input.checksum_mode.as_ref()),
    };
    let (_, _, mut output) = open(store, wanted).await?;
    output.content_type = input.response_content_type.or(output.content_type);
    output.content_disposition = input
        .response_content_disposition
        .or(output.content_disposition);
    output.content_encoding = input.response_content_encoding.or(output.content_encoding);
    output.content_language = input.response_content_language.or(output.content_language);
    output.cache_control = input.response_cache_control.or(output.cache_control);
    output.expires = input.response_expires.or(output.expires);
    Ok(output)
}

fn refuse_part(number: Option<i32>) -> S3Result<()> {
    match number {
        None => Ok(()),
        Some(_) => Err(s3_error!(
            NotImplemented,
            "Reading by part number is not supported"
        )),
    }
}

fn is_enabled(mode: Option<&ChecksumMode>) -> bool {
    mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED)
}

/// Opens the object, checks conditions and range, and describes the answer.
async fn open(
    store: &Arc<Store>,
    wanted: Wanted,
) -> S3Result<(Record, Range<u64>, HeadObjectOutput)> {
    let bucket = store.bucket(&wanted.bucket)?;
    blocking(move || {
        let record = bucket.get(&wanted.key)?;
        wanted.conditions.check(&record.meta)?;
        let size = record.meta.size;
        let (range, partial) = match wanted.range {
            Some(range) => (range.check(size).map_err(|_| not_satisfiable(size))?, true),
            None => (0..size, false),
        };
        (&record.file)
            .seek(SeekFrom::Start(range.start))
            .map_err(S3Error::internal_error)?;
        let mut output = describe(&record.meta);
        output.content_length = Some(wire(range.end - range.start));
        if partial {
            let (first, last) = (range.start, range.end.saturating_sub(1));
            output.content_range = Some(format!("bytes {first}-{last}/{size}"));
        } else if wanted.checksums {
            let kind = set_checksums!(output, record.meta.checksums.clone());
            output.checksum_type = kind.map(ChecksumType::from);
        }
        Ok((record, range, output))
    })
    .await
}

fn not_satisfiable(size: u64) -> S3Error {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
        headers.insert(CONTENT_RANGE, value);
    }
    let mut error = s3_error!(InvalidRange, "The requested range is not satisfiable");
    error.set_headers(headers);
    error
}

fn describe(meta: &Meta) -> HeadObjectOutput {
    let headers = meta.headers.clone();
    HeadObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        cache_control: headers.cache_control,
        content_disposition: headers.content_disposition,
        content_encoding: headers.content_encoding,
        content_language: headers.content_language,
        content_type: headers.content_type,
        e_tag: Some(meta.etag()),
        expires: headers.expires,
        last_modified: Some(meta.modified()),
        metadata: Some(headers.user.into_iter().collect()),
        ..Default::default()
    }
}

/// The content in pieces; the file is already at the start of the range.
fn stream(record: Record, range: Range<u64>) -> StreamingBlob {
    let length = range.end - range.start;
    let file = tokio::fs::File::from_std(record.file).take(length);
    StreamingBlob::wrap(ReaderStream::with_capacity(file, READ_BYTES))
}
