//! The operations of S3: a thin layer between the wire types and the store.

mod buckets;
mod copy;
mod headers;
mod list;
mod multipart;
mod read;
mod write;

use std::sync::Arc;

use s3s::{S3, S3Request, S3Response, S3Result};

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

/// Trait methods that delegate to a function each. `in_memory` ones do not touch the disk.
macro_rules! operations {
    (
        in_memory { $($quick:ident($quick_in:ident) -> $quick_out:ident = $answer:path;)* }
        on_disk { $($slow:ident($slow_in:ident) -> $slow_out:ident = $work:path;)* }
    ) => {
        #[async_trait::async_trait]
        impl S3 for Api {
            $(async fn $quick(
                &self,
                request: S3Request<s3s::dto::$quick_in>,
            ) -> S3Result<S3Response<s3s::dto::$quick_out>> {
                $answer(&self.store, request.input).map(S3Response::new)
            })*
            $(async fn $slow(
                &self,
                request: S3Request<s3s::dto::$slow_in>,
            ) -> S3Result<S3Response<s3s::dto::$slow_out>> {
                $work(Arc::clone(&self.store), request).await.map(S3Response::new)
            })*
        }
    };
}

operations! {
    in_memory {
        list_buckets(ListBucketsInput) -> ListBucketsOutput = buckets::list;
        head_bucket(HeadBucketInput) -> HeadBucketOutput = buckets::head;
        get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput = buckets::location;
        get_bucket_cors(GetBucketCorsInput) -> GetBucketCorsOutput = buckets::get_cors;
        post_object(PostObjectInput) -> PostObjectOutput = write::post;
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

/// A size as the wire types have it. No file comes near the limit.
fn wire(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
