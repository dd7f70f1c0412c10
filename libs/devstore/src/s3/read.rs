//! Reads objects.

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

use super::headers::{refuse_version, set_checksums};
use super::wire;
use crate::disk::{Internal as _, ObjectMetadata, ReadConditions, Record, Store, blocking};

/// The size of a body chunk.
const READ_BYTES: usize = 128 * 1024;

/// The fields that GET and HEAD have in common.
struct ReadRequest {
    bucket: String,
    key: String,
    conditions: ReadConditions,
    range: Option<s3s::dto::Range>,
    checksums: bool,
}

/// Checks the input of a GET or HEAD and moves the common fields out of it.
macro_rules! read_of {
    ($input:expr) => {{
        refuse_version($input.version_id.as_deref())?;
        refuse_part($input.part_number)?;
        ReadRequest {
            bucket: $input.bucket,
            key: $input.key,
            conditions: ReadConditions {
                if_match: $input.if_match,
                if_unmodified_since: $input.if_unmodified_since,
                if_none_match: $input.if_none_match,
                if_modified_since: $input.if_modified_since,
            },
            range: $input.range,
            checksums: is_enabled($input.checksum_mode.as_ref()),
        }
    }};
}

/// The output of a GET: the fields of a HEAD, and the body.
macro_rules! get_of {
    ($head:expr, $body:expr; $($field:ident)*) => {
        GetObjectOutput { body: Some($body), $($field: $head.$field,)* ..Default::default() }
    };
}

pub(super) async fn get(
    store: Arc<Store>,
    request: S3Request<GetObjectInput>,
) -> S3Result<GetObjectOutput> {
    let input = request.input;
    let (record, range, head) = open(&store, read_of!(input)).await?;
    Ok(get_of!(head, stream(record, range);
        accept_ranges cache_control checksum_crc32 checksum_crc32c checksum_crc64nvme
        checksum_sha1 checksum_sha256 checksum_type content_disposition content_encoding
        content_language content_length content_range content_type e_tag expires
        last_modified metadata))
}

pub(super) async fn head(
    store: Arc<Store>,
    request: S3Request<HeadObjectInput>,
) -> S3Result<HeadObjectOutput> {
    let input = request.input;
    let (_, _, mut output) = open(&store, read_of!(input)).await?;
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

/// Opens the object, checks conditions and range, and describes the response.
async fn open(
    store: &Store,
    read: ReadRequest,
) -> S3Result<(Record, Range<u64>, HeadObjectOutput)> {
    let bucket = store.bucket(&read.bucket)?;
    let checksums = read.checksums && store.keeps_checksums();
    blocking(move || {
        let record = bucket.get(&read.key)?;
        read.conditions.check(&record.meta)?;
        let size = record.meta.size;
        let (range, partial) = match read.range {
            Some(range) => (range.check(size).map_err(|_| not_satisfiable(size))?, true),
            None => (0..size, false),
        };
        let start = SeekFrom::Start(range.start);
        (&record.file).seek(start).internal()?;
        let mut output = describe(&record.meta);
        output.content_length = Some(wire(range.end - range.start));
        if partial {
            let (first, last) = (range.start, range.end.saturating_sub(1));
            output.content_range = Some(format!("bytes {first}-{last}/{size}"));
        } else if checksums {
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
    let mut error = s3_error!(InvalidRange, "The range is not satisfiable");
    error.set_headers(headers);
    error
}

fn describe(meta: &ObjectMetadata) -> HeadObjectOutput {
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

/// The content in chunks. The file is at the start of the range already.
fn stream(record: Record, range: Range<u64>) -> StreamingBlob {
    let length = range.end - range.start;
    let file = tokio::fs::File::from_std(record.file).take(length);
    StreamingBlob::wrap(ReaderStream::with_capacity(file, READ_BYTES))
}
