use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3Request, S3Result, s3_error};

use super::conditions::check_write;
use super::list::page_limit;
use super::objects::{algorithms, required_length, signed, stored_encoding, with_trailers};
use crate::disk::{
    Checksums, Headers, Meta, PartRef, Promised, Store, Upload, Write, blocking, receive,
};

const PART_NUMBERS: std::ops::RangeInclusive<i32> = 1..=10_000;

pub(super) async fn create(
    store: Arc<Store>,
    input: CreateMultipartUploadInput,
) -> S3Result<CreateMultipartUploadOutput> {
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
    let algorithm = input
        .checksum_algorithm
        .as_ref()
        .map(|name| name.as_str().to_owned());
    let mut upload = Upload::begin(input.key.clone(), headers, algorithm);
    upload.full_object =
        input.checksum_type.as_ref().map(ChecksumType::as_str) == Some(ChecksumType::FULL_OBJECT);
    let id = upload.id.clone();
    let bucket = store.bucket(&input.bucket)?;
    blocking(move || store.create_upload(&bucket, &upload)).await?;
    Ok(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(id),
        checksum_algorithm: input.checksum_algorithm,
        checksum_type: input.checksum_type,
        ..Default::default()
    })
}

pub(super) async fn upload_part(
    store: Arc<Store>,
    req: S3Request<UploadPartInput>,
) -> S3Result<UploadPartOutput> {
    let mut algorithms = algorithms(&req.headers);
    let trailing = req.trailing_headers;
    let input = req.input;
    if !PART_NUMBERS.contains(&input.part_number) {
        return Err(s3_error!(
            InvalidArgument,
            "Part number must be an integer between 1 and 10000, inclusive"
        ));
    }
    let promised = Promised {
        length: Some(required_length(input.content_length)?),
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
    let bucket = store.bucket(&input.bucket)?;
    let upload = store.upload(&bucket, &input.upload_id, &input.key)?;
    algorithms.extend(upload.algorithm.clone());
    let draft = receive(store.draft(&algorithms)?, input.body).await?;
    let promised = with_trailers(promised, trailing.as_ref());
    let meta = blocking(move || {
        let sealed = draft.seal(&upload.key, Headers::default(), &promised)?;
        store.put_part(&bucket, &upload, input.part_number, sealed)
    })
    .await?;
    Ok(UploadPartOutput {
        e_tag: Some(meta.etag()),
        checksum_crc32: meta.checksums.crc32,
        checksum_crc32c: meta.checksums.crc32c,
        checksum_crc64nvme: meta.checksums.crc64nvme,
        checksum_sha1: meta.checksums.sha1,
        checksum_sha256: meta.checksums.sha256,
        ..Default::default()
    })
}

pub(super) async fn complete(
    store: Arc<Store>,
    input: CompleteMultipartUploadInput,
) -> S3Result<CompleteMultipartUploadOutput> {
    let parts = input
        .multipart_upload
        .and_then(|upload| upload.parts)
        .unwrap_or_default();
    let parts = parts
        .into_iter()
        .map(part_ref)
        .collect::<S3Result<Vec<_>>>()?;
    let bucket = store.bucket(&input.bucket)?;
    let promised = Promised {
        length: input.mpu_object_size.and_then(|size| u64::try_from(size).ok()),
        md5: None,
        checksums: Checksums {
            crc32: input.checksum_crc32,
            crc32c: input.checksum_crc32c,
            crc64nvme: input.checksum_crc64nvme,
            sha1: input.checksum_sha1,
            sha256: input.checksum_sha256,
            kind: None,
        },
    };
    let (key, id) = (input.key.clone(), input.upload_id);
    let (if_match, if_none_match) = (input.if_match, input.if_none_match);
    let meta = blocking(move || {
        let upload = store.upload(&bucket, &id, &key)?;
        let condition = |present: Option<&Meta>| {
            check_write(present, if_match.as_ref(), if_none_match.as_ref())
        };
        let write = Write {
            bucket: &bucket,
            condition: &condition,
        };
        store.complete_upload(&write, &upload, &parts, &promised)
    })
    .await?;
    Ok(CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        bucket: Some(input.bucket),
        key: Some(input.key),
        e_tag: Some(meta.etag()),
        checksum_crc32: meta.checksums.crc32,
        checksum_crc32c: meta.checksums.crc32c,
        checksum_crc64nvme: meta.checksums.crc64nvme,
        checksum_sha1: meta.checksums.sha1,
        checksum_sha256: meta.checksums.sha256,
        checksum_type: meta.checksums.kind.map(ChecksumType::from),
        ..Default::default()
    })
}

fn part_ref(part: CompletedPart) -> S3Result<PartRef> {
    let number = part
        .part_number
        .ok_or_else(|| s3_error!(MalformedXML, "Every part needs a PartNumber and an ETag"))?;
    Ok(PartRef {
        number,
        etag: part.e_tag.map(ETag::into_value),
        checksums: Checksums {
            crc32: part.checksum_crc32,
            crc32c: part.checksum_crc32c,
            crc64nvme: part.checksum_crc64nvme,
            sha1: part.checksum_sha1,
            sha256: part.checksum_sha256,
            kind: None,
        },
    })
}

pub(super) async fn abort(
    store: Arc<Store>,
    input: AbortMultipartUploadInput,
) -> S3Result<AbortMultipartUploadOutput> {
    blocking(move || {
        let bucket = store.bucket(&input.bucket)?;
        let upload = store.upload(&bucket, &input.upload_id, &input.key)?;
        store.abort_upload(&bucket, &upload)
    })
    .await?;
    Ok(AbortMultipartUploadOutput::default())
}

pub(super) async fn list_parts(
    store: Arc<Store>,
    input: ListPartsInput,
) -> S3Result<ListPartsOutput> {
    let limit = page_limit(input.max_parts)?;
    // The marker is an integer in some SDKs and text in others.
    let marker: i32 = input
        .part_number_marker
        .as_ref()
        .and_then(|marker| marker.to_string().parse().ok())
        .unwrap_or(0);
    let (bucket_name, key, id) = (
        input.bucket.clone(),
        input.key.clone(),
        input.upload_id.clone(),
    );
    let all = blocking(move || {
        let bucket = store.bucket(&bucket_name)?;
        let upload = store.upload(&bucket, &id, &key)?;
        store.list_parts(&bucket, &upload)
    })
    .await?;
    let mut rest = all.into_iter().filter(|(number, _)| *number > marker);
    let page: Vec<(i32, Meta)> = rest.by_ref().take(limit).collect();
    let truncated = rest.next().is_some();
    Ok(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        is_truncated: Some(truncated),
        max_parts: i32::try_from(limit).ok(),
        next_part_number_marker: page.last().map(|(number, _)| *number),
        part_number_marker: input.part_number_marker,
        parts: Some(page.into_iter().map(listed_part).collect()),
        ..Default::default()
    })
}

fn listed_part((number, meta): (i32, Meta)) -> Part {
    Part {
        e_tag: Some(meta.etag()),
        last_modified: Some(meta.modified()),
        part_number: Some(number),
        size: Some(signed(meta.size)),
        checksum_crc32: meta.checksums.crc32,
        checksum_sha256: meta.checksums.sha256,
        ..Default::default()
    }
}
