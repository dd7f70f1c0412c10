//! Multipart uploads.

use std::sync::Arc;

use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumAlgorithm, ChecksumType,
    CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart,
    CreateMultipartUploadInput, CreateMultipartUploadOutput, ETag, ListPartsInput, ListPartsOutput,
    Part, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Request, S3Result, s3_error};

use super::headers::{checksums_of, headers_of, refuse_unsupported, set_checksums};
use super::list::page_limit;
use super::wire;
use super::write::{Body, name_of};
use crate::disk::{
    DeclaredContent, Headers, ObjectMetadata, PartRef, Store, Upload, WriteConditions, blocking,
};

const PART_NUMBERS: std::ops::RangeInclusive<i32> = 1..=10_000;

pub(super) async fn create(
    store: Arc<Store>,
    request: S3Request<CreateMultipartUploadInput>,
) -> S3Result<CreateMultipartUploadOutput> {
    refuse_unsupported(&request.headers)?;
    let mut input = request.input;
    let bucket = store.bucket(&input.bucket)?;
    let headers = headers_of!(input);
    let algorithm = name_of(input.checksum_algorithm);
    let mut upload = Upload::new(input.key, headers, algorithm);
    upload.full_object = is_full_object(input.checksum_type.as_ref(), upload.algorithm.as_deref());
    let upload = blocking(move || {
        bucket.create_upload(&upload)?;
        Ok(upload)
    })
    .await?;
    Ok(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        checksum_type: kind_of(&upload),
        checksum_algorithm: upload.algorithm.map(ChecksumAlgorithm::from),
        key: Some(upload.key),
        upload_id: Some(upload.id),
        ..Default::default()
    })
}

/// CRC-64 has no composite form.
fn is_full_object(asked: Option<&ChecksumType>, algorithm: Option<&str>) -> bool {
    asked.map_or(algorithm == Some(ChecksumAlgorithm::CRC64NVME), |kind| {
        kind.as_str() == ChecksumType::FULL_OBJECT
    })
}

fn kind_of(upload: &Upload) -> Option<ChecksumType> {
    let kind = if upload.full_object {
        ChecksumType::FULL_OBJECT
    } else {
        ChecksumType::COMPOSITE
    };
    upload
        .algorithm
        .as_ref()
        .map(|_| ChecksumType::from_static(kind))
}

pub(super) async fn upload_part(
    store: Arc<Store>,
    request: S3Request<UploadPartInput>,
) -> S3Result<UploadPartOutput> {
    refuse_unsupported(&request.headers)?;
    let mut input = request.input;
    let number = input.part_number;
    if !PART_NUMBERS.contains(&number) {
        return Err(s3_error!(InvalidArgument, "Part numbers are 1 to 10000"));
    }
    let bucket = store.bucket(&input.bucket)?;
    let within = Arc::clone(&bucket);
    let (id, key) = (input.upload_id, input.key);
    let upload = blocking(move || within.upload(&id, &key)).await?;
    let asked = name_of(input.checksum_algorithm);
    let body = Body {
        stream: input.body.take(),
        length: input.content_length,
        md5: input.content_md5.take(),
        checksums: checksums_of!(input),
        algorithms: upload.algorithm.iter().cloned().chain(asked).collect(),
        headers: request.headers,
        trailers: request.trailing_headers,
    };
    let (draft, promised) = body.receive(&store).await?;
    let meta = blocking(move || {
        let sealed = draft.seal(&upload.key, Headers::default(), &promised)?;
        store.put_part(&bucket, &upload, number, sealed)
    })
    .await?;
    let mut output = UploadPartOutput {
        e_tag: Some(meta.etag()),
        ..Default::default()
    };
    set_checksums!(output, meta.checksums);
    Ok(output)
}

pub(super) async fn complete(
    store: Arc<Store>,
    request: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<CompleteMultipartUploadOutput> {
    let mut input = request.input;
    let bucket = store.bucket(&input.bucket)?;
    let parts = input.multipart_upload.take().and_then(|list| list.parts);
    let parts = parts.into_iter().flatten().map(part_ref);
    let parts = parts.collect::<S3Result<Vec<PartRef>>>()?;
    let promised = DeclaredContent {
        length: input
            .mpu_object_size
            .and_then(|size| u64::try_from(size).ok()),
        md5: None,
        checksums: checksums_of!(input),
    };
    let conditions = WriteConditions {
        if_match: input.if_match.take(),
        if_none_match: input.if_none_match.take(),
    };
    let (id, key) = (input.upload_id, input.key.clone());
    let meta = blocking(move || {
        let upload = bucket.upload(&id, &key)?;
        store.complete_upload(&bucket, &conditions, &upload, &parts, promised)
    })
    .await?;
    let mut output = CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        bucket: Some(input.bucket),
        key: Some(input.key),
        e_tag: Some(meta.etag()),
        ..Default::default()
    };
    output.checksum_type = set_checksums!(output, meta.checksums).map(ChecksumType::from);
    Ok(output)
}

fn part_ref(mut part: CompletedPart) -> S3Result<PartRef> {
    let number = part
        .part_number
        .filter(|number| PART_NUMBERS.contains(number));
    let number =
        number.ok_or_else(|| s3_error!(MalformedXML, "Every part needs a number and an ETag"))?;
    let etag = part.e_tag.take().map(ETag::into_value);
    Ok(PartRef {
        number,
        etag,
        checksums: checksums_of!(part),
    })
}

pub(super) async fn abort(
    store: Arc<Store>,
    request: S3Request<AbortMultipartUploadInput>,
) -> S3Result<AbortMultipartUploadOutput> {
    let input = request.input;
    let bucket = store.bucket(&input.bucket)?;
    blocking(move || {
        let upload = bucket.upload(&input.upload_id, &input.key)?;
        store.abort_upload(&bucket, &upload)
    })
    .await?;
    Ok(AbortMultipartUploadOutput::default())
}

pub(super) async fn list_parts(
    store: Arc<Store>,
    request: S3Request<ListPartsInput>,
) -> S3Result<ListPartsOutput> {
    let input = request.input;
    let limit = page_limit(input.max_parts)?;
    let after = input.part_number_marker.unwrap_or_default();
    let bucket = store.bucket(&input.bucket)?;
    let (id, key) = (input.upload_id.clone(), input.key.clone());
    let (upload, mut found) = blocking(move || {
        let upload = bucket.upload(&id, &key)?;
        let parts = bucket.list_parts(&upload)?;
        Ok((upload, parts))
    })
    .await?;
    found.retain(|(number, _)| *number > after);
    let truncated = found.len() > limit;
    found.truncate(limit);
    Ok(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        max_parts: i32::try_from(limit).ok(),
        part_number_marker: Some(after),
        next_part_number_marker: found.last().map(|(number, _)| *number),
        is_truncated: Some(truncated),
        parts: Some(found.into_iter().map(listed_part).collect()),
        checksum_type: kind_of(&upload),
        checksum_algorithm: upload.algorithm.map(ChecksumAlgorithm::from),
        ..Default::default()
    })
}

fn listed_part((number, meta): (i32, ObjectMetadata)) -> Part {
    let mut part = Part {
        part_number: Some(number),
        e_tag: Some(meta.etag()),
        size: Some(wire(meta.size)),
        last_modified: Some(meta.modified()),
        ..Default::default()
    };
    set_checksums!(part, meta.checksums);
    part
}
