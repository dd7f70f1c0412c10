//! Copies inside the store.

use std::sync::Arc;

use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, MetadataDirective,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result, s3_error};

use super::headers::{headers_of, refuse_unsupported, refuse_version, set_checksums};
use crate::disk::{
    Bucket, DeclaredContent, Internal as _, ReadConditions, Store, WriteConditions, blocking,
    failed,
};

pub(super) async fn copy(
    store: Arc<Store>,
    request: S3Request<CopyObjectInput>,
) -> S3Result<CopyObjectOutput> {
    refuse_unsupported(&request.headers)?;
    let mut input = request.input;
    let replaces = input
        .metadata_directive
        .as_ref()
        .is_some_and(|directive| directive.as_str() == MetadataDirective::REPLACE);
    let (source_bucket, source_key) = source(&store, &input, replaces)?;
    let bucket = store.bucket(&input.bucket)?;
    let replaced = headers_of!(input);
    let conditions = source_conditions(&mut input);
    let asked = input
        .checksum_algorithm
        .take()
        .map(|algorithm| algorithm.as_str().to_owned());
    let key = input.key;
    let meta = blocking(move || {
        let source = source_bucket.get(&source_key)?;
        conditions.check(&source.meta).map_err(as_precondition)?;
        let kept = || source.meta.checksums.algorithms();
        let algorithms = asked.map_or_else(kept, |name| vec![name]);
        let mut draft = store.draft(&algorithms)?;
        draft.copy_from(&source.file, source.meta.size).internal()?;
        let promised = DeclaredContent {
            length: Some(source.meta.size),
            ..Default::default()
        };
        let headers = if replaces {
            replaced
        } else {
            source.meta.headers
        };
        let sealed = draft.seal(&key, headers, &promised)?;
        store.put(&bucket, &WriteConditions::default(), sealed)
    })
    .await?;
    let mut result = CopyObjectResult {
        e_tag: Some(meta.etag()),
        last_modified: Some(meta.modified()),
        ..Default::default()
    };
    result.checksum_type = set_checksums!(result, meta.checksums).map(Into::into);
    Ok(CopyObjectOutput {
        copy_object_result: Some(result),
        ..Default::default()
    })
}

/// Bucket and key to copy from. Fails if the copy would change nothing.
fn source(
    store: &Store,
    input: &CopyObjectInput,
    replaces: bool,
) -> S3Result<(Arc<Bucket>, String)> {
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
    Ok((store.bucket(bucket)?, key.to_string()))
}

fn source_conditions(input: &mut CopyObjectInput) -> ReadConditions {
    ReadConditions {
        if_match: input.copy_source_if_match.take(),
        if_unmodified_since: input.copy_source_if_unmodified_since.take(),
        if_none_match: input.copy_source_if_none_match.take(),
        if_modified_since: input.copy_source_if_modified_since.take(),
    }
}

/// A copy returns 412 where a read returns 304.
fn as_precondition(error: S3Error) -> S3Error {
    if *error.code() == S3ErrorCode::NotModified {
        failed("x-amz-copy-source-if-*")
    } else {
        error
    }
}
