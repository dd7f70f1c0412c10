//! Buckets.

use std::io;
use std::sync::Arc;

use s3s::dto::{
    Bucket, CreateBucketInput, CreateBucketOutput, HeadBucketInput, HeadBucketOutput,
    ListBucketsInput, ListBucketsOutput,
};
use s3s::{S3Error, S3Request, S3Result, s3_error};

use crate::disk::{Store, blocking, timestamp};

pub(super) async fn create(
    store: Arc<Store>,
    request: S3Request<CreateBucketInput>,
) -> S3Result<CreateBucketOutput> {
    let input = request.input;
    let location = format!("/{}", input.bucket);
    let refused = |error: io::Error| match error.kind() {
        io::ErrorKind::InvalidInput => s3_error!(error, InvalidBucketName, "The name is not valid"),
        _ => S3Error::internal_error(error),
    };
    if !blocking(move || store.ensure_bucket(&input.bucket).map_err(refused)).await? {
        return Err(s3_error!(
            BucketAlreadyOwnedByYou,
            "The bucket exists already"
        ));
    }
    Ok(CreateBucketOutput {
        location: Some(location),
    })
}

pub(super) fn head(store: &Store, input: HeadBucketInput) -> S3Result<HeadBucketOutput> {
    store.bucket(&input.bucket)?;
    Ok(HeadBucketOutput {
        bucket_region: Some("auto".to_owned()),
        ..Default::default()
    })
}

#[expect(clippy::unnecessary_wraps, reason = "an operation like the others")]
pub(super) fn list(store: &Store, _: ListBucketsInput) -> S3Result<ListBucketsOutput> {
    let listed = |bucket: &Arc<crate::disk::Bucket>| Bucket {
        creation_date: Some(timestamp(bucket.created_ms)),
        name: Some(bucket.name.clone()),
        ..Default::default()
    };
    Ok(ListBucketsOutput {
        buckets: Some(store.list_buckets().iter().map(listed).collect()),
        ..Default::default()
    })
}
