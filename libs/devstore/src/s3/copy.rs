//! Copies inside the store.

use std::sync::Arc;

use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, MetadataDirective,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::Answer;
use super::headers::{checksum_name, kept, refuse_unsupported, refuse_version};
use crate::disk::{Conditions, Internal as _, Promised, Store, blocking, failed};

pub(super) async fn copy(
    store: Arc<Store>,
    request: S3Request<CopyObjectInput>,
) -> Answer<CopyObjectOutput> {
    refuse_unsupported(&request.headers)?;
    let input = request.input;
    let directive = input.metadata_directive.as_ref();
    let replaces = directive.is_some_and(|it| it.as_str() == MetadataDirective::REPLACE);
    let replaced = replaces.then(|| kept(&request.headers)).transpose()?;
    let (source_bucket, source_key) = source(&input, replaces)?;
    let conditions = Conditions {
        if_match: input.copy_source_if_match,
        if_unmodified_since: input.copy_source_if_unmodified_since,
        if_none_match: input.copy_source_if_none_match,
        if_modified_since: input.copy_source_if_modified_since,
    };
    let asked = input.checksum_algorithm.as_ref().map(checksum_name);
    let meta = blocking(move || {
        let source = store.bucket(&source_bucket)?.get(&source_key)?;
        let bucket = store.bucket(&input.bucket)?;
        conditions
            .check_read(&source.meta)
            .map_err(as_precondition)?;
        let mut draft = store.draft(source.meta.checksums.keys().chain(&asked))?;
        draft.copy_from(&source.file, source.meta.size).internal()?;
        let promised = Promised {
            length: source.meta.size,
            checksums: source.meta.checksums,
            ..Default::default()
        };
        let headers = replaced.unwrap_or(source.meta.headers);
        let sealed = draft.seal(input.key, headers, &promised)?;
        store.put(&bucket, &Conditions::default(), sealed)
    })
    .await?;
    let result = CopyObjectResult {
        e_tag: Some(meta.etag()),
        last_modified: Some(meta.modified()),
        ..Default::default()
    };
    Ok(S3Response::new(CopyObjectOutput {
        copy_object_result: Some(result),
        ..Default::default()
    }))
}

/// Bucket and key to copy from. Fails if the copy would change nothing.
fn source(input: &CopyObjectInput, replaces: bool) -> S3Result<(String, String)> {
    let CopySource::Bucket {
        bucket,
        key,
        version_id,
    } = &input.copy_source
    else {
        return Err(s3_error!(NotImplemented, "Access points are not supported"));
    };
    refuse_version(version_id.as_deref())?;
    if !replaces && **bucket == *input.bucket && **key == *input.key {
        return Err(s3_error!(
            InvalidRequest,
            "A copy of an object to itself must replace its metadata"
        ));
    }
    Ok((bucket.to_string(), key.to_string()))
}

/// A copy returns 412 where a read returns 304.
fn as_precondition(error: S3Error) -> S3Error {
    if *error.code() == S3ErrorCode::NotModified {
        failed("x-amz-copy-source-if-*")
    } else {
        error
    }
}
