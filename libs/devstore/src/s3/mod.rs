//! The operations of S3: a thin layer between the wire types and the store.

mod copy;
mod headers;
mod list;
mod read;
mod write;

use std::io;
use std::sync::Arc;

use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CreateBucketInput, CreateBucketOutput, DeleteObjectInput,
    DeleteObjectOutput, GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput,
    HeadObjectInput, HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output, PutObjectInput,
    PutObjectOutput,
};
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, s3_error};

use crate::disk::{Store, blocking};

/// What an operation returns.
type Answer<T> = S3Result<S3Response<T>>;

/// The operations of one server. All others are refused as not implemented.
pub(crate) struct Api {
    pub(crate) store: Arc<Store>,
}

impl Api {
    fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }
}

#[async_trait::async_trait]
impl S3 for Api {
    async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> Answer<CreateBucketOutput> {
        let (store, name) = (self.store(), request.input.bucket);
        let location = Some(format!("/{name}"));
        let refused = |error: io::Error| match error.kind() {
            io::ErrorKind::InvalidInput => {
                s3_error!(error, InvalidBucketName, "The name is not valid")
            }
            _ => S3Error::internal_error(error),
        };
        if blocking(move || store.ensure_bucket(&name).map_err(refused)).await? {
            return Ok(S3Response::new(CreateBucketOutput { location }));
        }
        Err(s3_error!(
            BucketAlreadyOwnedByYou,
            "The bucket exists already"
        ))
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> Answer<HeadBucketOutput> {
        self.store.bucket(&request.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput {
            bucket_region: Some("auto".to_owned()),
            ..Default::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> Answer<ListObjectsV2Output> {
        list::objects(self.store(), request.input).await
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
        read::get(self.store(), request).await
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
        read::head(self.store(), request).await
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        write::put(self.store(), request).await
    }

    async fn copy_object(&self, request: S3Request<CopyObjectInput>) -> Answer<CopyObjectOutput> {
        copy::copy(self.store(), request).await
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> Answer<DeleteObjectOutput> {
        let (store, input) = (self.store(), request.input);
        headers::refuse_version(input.version_id.as_deref())?;
        if input.if_match.is_some() {
            return Err(s3_error!(NotImplemented, "If-Match is not supported here"));
        }
        blocking(move || store.bucket(&input.bucket)?.delete(&input.key)).await?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }
}

/// A size as the wire types have it. No file comes near the limit.
fn wire(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
