use std::collections::BTreeMap;
use std::io::{Seek as _, SeekFrom};
use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Response, S3Result, TrailingHeaders, s3_error};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::conditions::{Read, check_write};
use crate::disk::{Checksums, Headers, Meta, Promised, Record, Store, Write, blocking, receive};

const READ_CHUNK_BYTES: usize = 128 * 1024;
const DELETE_LIMIT: usize = 1000;
const DEFAULT_CONTENT_TYPE: &str = "application/octet-stream";

pub(super) async fn get(
    store: Arc<Store>,
    input: GetObjectInput,
) -> S3Result<S3Response<GetObjectOutput>> {
    refuse_versions(input.version_id.as_deref())?;
    let (bucket, key) = (input.bucket.clone(), input.key.clone());
    let record = blocking(move || store.get(&*store.bucket(&bucket)?, &key)).await?;
    let read = Read {
        if_match: input.if_match.as_ref(),
        if_none_match: input.if_none_match.as_ref(),
        if_modified_since: input.if_modified_since.as_ref(),
        if_unmodified_since: input.if_unmodified_since.as_ref(),
    };
    read.check(&record.meta)?;
    let (range, content_range) = slice(input.range.as_ref(), record.meta.size)?;
    let sums = wanted_sums(
        input.checksum_mode.as_ref(),
        content_range.is_some(),
        &record.meta,
    );
    let Record { file, meta } = record;
    let body = stream(file, &range).await?;
    let status = content_range
        .is_some()
        .then_some(http::StatusCode::PARTIAL_CONTENT);
    let output = GetObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        body: Some(body),
        cache_control: meta.headers.cache_control.clone(),
        checksum_crc32: sums.crc32,
        checksum_crc32c: sums.crc32c,
        checksum_crc64nvme: sums.crc64nvme,
        checksum_sha1: sums.sha1,
        checksum_sha256: sums.sha256,
        checksum_type: sums.kind.map(ChecksumType::from),
        content_disposition: meta.headers.content_disposition.clone(),
        content_encoding: meta.headers.content_encoding.clone(),
        content_language: meta.headers.content_language.clone(),
        content_length: Some(signed(range.end - range.start)),
        content_range,
        content_type: Some(content_type(&meta)),
        e_tag: Some(meta.etag()),
        expires: meta.headers.expires.clone(),
        last_modified: Some(meta.modified()),
        metadata: user_metadata(&meta),
        ..Default::default()
    };
    let mut response = S3Response::new(output);
    response.status = status;
    Ok(response)
}

pub(super) async fn head(
    store: Arc<Store>,
    input: HeadObjectInput,
) -> S3Result<S3Response<HeadObjectOutput>> {
    refuse_versions(input.version_id.as_deref())?;
    let (bucket, key) = (input.bucket.clone(), input.key.clone());
    let meta = blocking(move || Ok(store.get(&*store.bucket(&bucket)?, &key)?.meta)).await?;
    let read = Read {
        if_match: input.if_match.as_ref(),
        if_none_match: input.if_none_match.as_ref(),
        if_modified_since: input.if_modified_since.as_ref(),
        if_unmodified_since: input.if_unmodified_since.as_ref(),
    };
    read.check(&meta)?;
    let (range, content_range) = slice(input.range.as_ref(), meta.size)?;
    let sums = wanted_sums(input.checksum_mode.as_ref(), content_range.is_some(), &meta);
    let status = content_range
        .is_some()
        .then_some(http::StatusCode::PARTIAL_CONTENT);
    let output = HeadObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        cache_control: meta.headers.cache_control.clone(),
        checksum_crc32: sums.crc32,
        checksum_crc32c: sums.crc32c,
        checksum_crc64nvme: sums.crc64nvme,
        checksum_sha1: sums.sha1,
        checksum_sha256: sums.sha256,
        checksum_type: sums.kind.map(ChecksumType::from),
        content_disposition: meta.headers.content_disposition.clone(),
        content_encoding: meta.headers.content_encoding.clone(),
        content_language: meta.headers.content_language.clone(),
        content_length: Some(signed(range.end - range.start)),
        content_range,
        content_type: Some(content_type(&meta)),
        e_tag: Some(meta.etag()),
        expires: meta.headers.expires.clone(),
        last_modified: Some(meta.modified()),
        metadata: user_metadata(&meta),
        ..Default::default()
    };
    let mut response = S3Response::new(output);
    response.status = status;
    Ok(response)
}

pub(super) async fn put(
    store: Arc<Store>,
    req: S3Request<PutObjectInput>,
) -> S3Result<PutObjectOutput> {
    let algorithms = algorithms(&req.headers);
    let trailing = req.trailing_headers;
    let input = req.input;
    let length = required_length(input.content_length)?;
    let promised = Promised {
        length: Some(length),
        md5: input.content_md5,
        checksums: Checksums {
            crc32: input.checksum_crc32,
            crc32c: input.checksum_crc32c,
            crc64nvme: input.checksum_crc64nvme,
            sha1: input.checksum_sha1,
            sha256: input.checksum_sha256,
            kind: None,
        },
    };
    let headers = Headers {
        content_type: input.content_type,
        content_disposition: input.content_disposition,
        content_encoding: input
            .content_encoding
            .and_then(|value| stored_encoding(&value)),
        content_language: input.content_language,
        cache_control: input.cache_control,
        expires: input.expires,
        user: input.metadata.into_iter().flatten().collect(),
    };
    let (if_match, if_none_match) = (input.if_match, input.if_none_match);
    let bucket = store.bucket(&input.bucket)?;
    // Looked at before the body is read, so that a refused upload costs nothing, and once
    // more when the object gets its name.
    if if_match.is_some() || if_none_match.is_some() {
        let present = store.get(&bucket, &input.key).ok();
        let meta = present.as_ref().map(|record| &record.meta);
        check_write(meta, if_match.as_ref(), if_none_match.as_ref())?;
    }
    let draft = receive(store.draft(&algorithms)?, input.body).await?;
    let promised = with_trailers(promised, trailing.as_ref());
    let key = input.key;
    let meta = blocking(move || {
        let condition = |present: Option<&Meta>| {
            check_write(present, if_match.as_ref(), if_none_match.as_ref())
        };
        let write = Write {
            bucket: &bucket,
            condition: &condition,
        };
        store.put(&write, draft.seal(&key, headers, &promised)?)
    })
    .await?;
    Ok(PutObjectOutput {
        e_tag: Some(meta.etag()),
        checksum_crc32: meta.checksums.crc32,
        checksum_crc32c: meta.checksums.crc32c,
        checksum_crc64nvme: meta.checksums.crc64nvme,
        checksum_sha1: meta.checksums.sha1,
        checksum_sha256: meta.checksums.sha256,
        ..Default::default()
    })
}

pub(super) async fn copy(store: Arc<Store>, input: CopyObjectInput) -> S3Result<CopyObjectOutput> {
    let CopySource::Bucket {
        bucket,
        key,
        version_id,
    } = &input.copy_source
    else {
        return Err(s3_error!(
            NotImplemented,
            "Only a bucket and a key can be copied from"
        ));
    };
    refuse_versions(version_id.as_deref())?;
    let replace = input
        .metadata_directive
        .as_ref()
        .map(MetadataDirective::as_str)
        == Some("REPLACE");
    if !replace && **bucket == input.bucket && **key == input.key {
        return Err(s3_error!(
            InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata"
        ));
    }
    let meta = blocking(move || copy_now(&store, &input, replace)).await?;
    Ok(CopyObjectOutput {
        copy_object_result: Some(CopyObjectResult {
            e_tag: Some(meta.etag()),
            last_modified: Some(meta.modified()),
            ..Default::default()
        }),
        ..Default::default()
    })
}

fn copy_now(store: &Store, input: &CopyObjectInput, replace: bool) -> S3Result<Meta> {
    let CopySource::Bucket { bucket, key, .. } = &input.copy_source else {
        return Err(s3_error!(NotImplemented));
    };
    let source = store.get(&*store.bucket(bucket)?, key)?;
    let read = Read {
        if_match: input.copy_source_if_match.as_ref(),
        if_none_match: input.copy_source_if_none_match.as_ref(),
        if_modified_since: input.copy_source_if_modified_since.as_ref(),
        if_unmodified_since: input.copy_source_if_unmodified_since.as_ref(),
    };
    // A copy has no "not modified": every condition that does not hold is a failed one.
    read.check(&source.meta)
        .map_err(|_| super::conditions::failed("x-amz-copy-source-if-*"))?;
    let target = store.bucket(&input.bucket)?;
    let kept: Vec<String> = source
        .meta
        .checksums
        .sha256
        .iter()
        .map(|_| "SHA256".to_owned())
        .collect();
    let mut draft = store.draft(&kept)?;
    draft
        .copy_from(&source.file, source.meta.size)
        .map_err(S3Error::internal_error)?;
    let headers = if replace {
        replaced_headers(input)
    } else {
        source.meta.headers.clone()
    };
    let sealed = draft.seal(&input.key, headers, &Promised::default())?;
    store.put(
        &Write {
            bucket: &target,
            condition: &|_| Ok(()),
        },
        sealed,
    )
}

fn replaced_headers(input: &CopyObjectInput) -> Headers {
    Headers {
        content_type: input.content_type.clone(),
        content_disposition: input.content_disposition.clone(),
        content_encoding: input.content_encoding.clone(),
        content_language: input.content_language.clone(),
        cache_control: input.cache_control.clone(),
        expires: input.expires.clone(),
        user: input.metadata.clone().into_iter().flatten().collect(),
    }
}

pub(super) async fn delete(
    store: Arc<Store>,
    input: DeleteObjectInput,
) -> S3Result<DeleteObjectOutput> {
    refuse_versions(input.version_id.as_deref())?;
    blocking(move || {
        let bucket = store.bucket(&input.bucket)?;
        let condition =
            |present: Option<&Meta>| check_write(present, input.if_match.as_ref(), None);
        store.delete(
            &Write {
                bucket: &bucket,
                condition: &condition,
            },
            &input.key,
        )
    })
    .await?;
    Ok(DeleteObjectOutput::default())
}

pub(super) async fn delete_many(
    store: Arc<Store>,
    input: DeleteObjectsInput,
) -> S3Result<DeleteObjectsOutput> {
    if input.delete.objects.len() > DELETE_LIMIT {
        return Err(s3_error!(
            MalformedXML,
            "At most 1000 keys can be deleted in one request"
        ));
    }
    let quiet = input.delete.quiet.unwrap_or(false);
    blocking(move || {
        let bucket = store.bucket(&input.bucket)?;
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for object in input.delete.objects {
            match store.delete(
                &Write {
                    bucket: &bucket,
                    condition: &|_| Ok(()),
                },
                &object.key,
            ) {
                Ok(()) if quiet => {}
                Ok(()) => {
                    deleted.push(DeletedObject {
                        key: Some(object.key),
                        ..Default::default()
                    });
                }
                Err(error) => errors.push(s3s::dto::Error {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(object.key),
                    message: error.message().map(ToOwned::to_owned),
                    version_id: None,
                }),
            }
        }
        Ok(DeleteObjectsOutput {
            deleted: (!deleted.is_empty()).then_some(deleted),
            errors: (!errors.is_empty()).then_some(errors),
            request_charged: None,
        })
    })
    .await
}

/// `InvalidArgument` for a version: like R2, this server keeps one version of an object.
pub(super) fn refuse_versions(version: Option<&str>) -> S3Result<()> {
    match version {
        None | Some("null") => Ok(()),
        Some(_) => Err(s3_error!(InvalidArgument, "Invalid version id specified")),
    }
}

/// Digests to compute: those that came as headers, were announced as trailers or were named.
pub(super) fn algorithms(headers: &http::HeaderMap) -> Vec<String> {
    let mut found = Vec::new();
    let named = ["x-amz-sdk-checksum-algorithm", "x-amz-checksum-algorithm"];
    for (name, value) in headers {
        let value = value.to_str().unwrap_or_default();
        if named.contains(&name.as_str()) {
            found.push(value.to_owned());
        } else if name == "x-amz-trailer" {
            found.extend(
                value
                    .split(',')
                    .filter_map(|entry| checksum_name(entry.trim())),
            );
        } else {
            found.extend(checksum_name(name.as_str()));
        }
    }
    found
}

fn checksum_name(header: &str) -> Option<String> {
    header.strip_prefix("x-amz-checksum-").map(str::to_owned)
}

/// Adds what an aws-chunked body said after its content.
pub(super) fn with_trailers(
    mut promised: Promised,
    trailing: Option<&TrailingHeaders>,
) -> Promised {
    let Some(headers) = trailing.and_then(TrailingHeaders::take) else {
        return promised;
    };
    let text = |name: &str| {
        headers
            .get(name)?
            .to_str()
            .ok()
            .map(|value| value.trim().to_owned())
    };
    let sums = &mut promised.checksums;
    sums.crc32 = text("x-amz-checksum-crc32").or(sums.crc32.take());
    sums.crc32c = text("x-amz-checksum-crc32c").or(sums.crc32c.take());
    sums.crc64nvme = text("x-amz-checksum-crc64nvme").or(sums.crc64nvme.take());
    sums.sha1 = text("x-amz-checksum-sha1").or(sums.sha1.take());
    sums.sha256 = text("x-amz-checksum-sha256").or(sums.sha256.take());
    promised
}

pub(super) fn required_length(length: Option<i64>) -> S3Result<u64> {
    length
        .and_then(|length| u64::try_from(length).ok())
        .ok_or_else(|| {
            s3_error!(
                MissingContentLength,
                "You must provide the Content-Length HTTP header."
            )
        })
}

/// `aws-chunked` describes the transfer, not the object.
pub(super) fn stored_encoding(value: &str) -> Option<String> {
    let kept: Vec<&str> = value
        .split(',')
        .map(str::trim)
        .filter(|part| *part != "aws-chunked")
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

fn slice(range: Option<&Range>, size: u64) -> S3Result<(std::ops::Range<u64>, Option<String>)> {
    let Some(range) = range else {
        return Ok((0..size, None));
    };
    let range = range.check(size)?;
    let text = format!(
        "bytes {}-{}/{size}",
        range.start,
        range.end.saturating_sub(1)
    );
    Ok((range, Some(text)))
}

async fn stream(mut file: std::fs::File, range: &std::ops::Range<u64>) -> S3Result<StreamingBlob> {
    let start = range.start;
    let file = blocking(move || {
        file.seek(SeekFrom::Start(start))
            .map_err(S3Error::internal_error)?;
        Ok(file)
    })
    .await?;
    let reader = tokio::fs::File::from_std(file).take(range.end - range.start);
    Ok(StreamingBlob::wrap(ReaderStream::with_capacity(
        reader,
        READ_CHUNK_BYTES,
    )))
}

/// Checksums go out when they are asked for, and only with the whole object.
fn wanted_sums(mode: Option<&ChecksumMode>, partial: bool, meta: &Meta) -> Checksums {
    match mode {
        Some(mode) if mode.as_str() == ChecksumMode::ENABLED && !partial => meta.checksums.clone(),
        _ => Checksums::default(),
    }
}

fn content_type(meta: &Meta) -> String {
    meta.headers
        .content_type
        .clone()
        .unwrap_or_else(|| DEFAULT_CONTENT_TYPE.to_owned())
}

fn user_metadata(meta: &Meta) -> Option<Metadata> {
    let user: &BTreeMap<String, String> = &meta.headers.user;
    (!user.is_empty()).then(|| user.clone().into_iter().collect())
}

pub(super) fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
