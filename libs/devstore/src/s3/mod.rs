//! The operations of S3, each a thin step between the wire types and the store.

mod buckets;
mod conditions;
mod copy;
mod headers;
mod list;
mod multipart;
mod read;
mod write;

use std::sync::Arc;

use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CopyObjectInput, CopyObjectOutput, CreateBucketInput,
    CreateBucketOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput,
    DeleteBucketCorsInput, DeleteBucketCorsOutput, DeleteBucketInput, DeleteBucketOutput,
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput,
    GetBucketCorsInput, GetBucketCorsOutput, GetBucketLocationInput, GetBucketLocationOutput,
    GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput,
    HeadObjectOutput, ListBucketsInput, ListBucketsOutput, ListMultipartUploadsInput,
    ListMultipartUploadsOutput, ListObjectsV2Input, ListObjectsV2Output, ListPartsInput,
    ListPartsOutput, PostObjectInput, PostObjectOutput, PutBucketCorsInput, PutBucketCorsOutput,
    PutObjectInput, PutObjectOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use crate::disk::Store;

/// The operations of one server.
pub(crate) struct Api {
    store: Arc<Store>,
}

impl Api {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }
}

/// Trait methods that hand over to the function of the same purpose.
macro_rules! operations {
    (
        at_once { $($quick:ident($quick_in:ty) -> $quick_out:ty = $answer:path;)* }
        on_disk { $($slow:ident($slow_in:ty) -> $slow_out:ty = $work:path;)* }
    ) => {
        #[async_trait::async_trait]
        impl S3 for Api {
            $(async fn $quick(
                &self,
                request: S3Request<$quick_in>,
            ) -> S3Result<S3Response<$quick_out>> {
                $answer(&self.store, request.input).map(S3Response::new)
            })*
            $(async fn $slow(
                &self,
                request: S3Request<$slow_in>,
            ) -> S3Result<S3Response<$slow_out>> {
                $work(&self.store, request).await.map(S3Response::new)
            })*
        }
    };
}

operations! {
    at_once {
        list_buckets(ListBucketsInput) -> ListBucketsOutput = buckets::list;
        head_bucket(HeadBucketInput) -> HeadBucketOutput = buckets::head;
        get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput = buckets::location;
        get_bucket_cors(GetBucketCorsInput) -> GetBucketCorsOutput = buckets::get_cors;
        post_object(PostObjectInput) -> PostObjectOutput = no_forms;
    }
    on_disk {
        create_bucket(CreateBucketInput) -> CreateBucketOutput = buckets::create;
        delete_bucket(DeleteBucketInput) -> DeleteBucketOutput = buckets::delete;
        put_bucket_cors(PutBucketCorsInput) -> PutBucketCorsOutput = buckets::put_cors;
        delete_bucket_cors(DeleteBucketCorsInput) -> DeleteBucketCorsOutput = buckets::delete_cors;
        get_object(GetObjectInput) -> GetObjectOutput = read::get;
        head_object(HeadObjectInput) -> HeadObjectOutput = read::head;
        put_object(PutObjectInput) -> PutObjectOutput = write::put;
        copy_object(CopyObjectInput) -> CopyObjectOutput = copy::copy;
        delete_object(DeleteObjectInput) -> DeleteObjectOutput = write::delete;
        delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput = write::delete_many;
        list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output = list::objects;
        create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput
            = multipart::create;
        upload_part(UploadPartInput) -> UploadPartOutput = multipart::upload_part;
        complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput
            = multipart::complete;
        abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput
            = multipart::abort;
        list_parts(ListPartsInput) -> ListPartsOutput = multipart::list_parts;
        list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput
            = list::uploads;
    }
}

/// R2 has no uploads by HTML form either.
fn no_forms(_: &Store, _: PostObjectInput) -> S3Result<PostObjectOutput> {
    Err(s3_error!(
        NotImplemented,
        "Uploads by form are not supported"
    ))
}

/// A size for the wire; nothing here comes near the limit.
fn wire(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
