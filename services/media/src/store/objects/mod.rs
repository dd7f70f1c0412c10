//! The object store: two buckets behind the S3 API.

mod client;
mod presign;
mod signer;

use std::{fmt, sync::Arc, time::Duration};

use aws_sdk_s3::{
    Client,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    operation::{get_object::builders::GetObjectFluentBuilder, head_object::HeadObjectOutput},
    types::{ChecksumMode, MetadataDirective},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use quartet_telemetry::span;
use sha2::{Digest, Sha256};

use crate::{
    config::S3,
    store::{assets::Visibility, ids::UploadId, uploads::UploadRow},
};

pub(crate) use presign::Disposition;
use signer::Signer;
pub(crate) use signer::{SignedRequest, Validity};

/// The code of a response about a bucket that does not exist.
const NO_BUCKET: &str = "NoSuchBucket";

/// A request to the S3 API failed. Contains no secret: the SDK prints none.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation}: {message}")]
pub(crate) struct ObjectError {
    operation: &'static str,
    message: String,
}

/// The metadata of an object.
#[derive(Clone, Debug)]
pub(crate) struct ObjectHead {
    pub(crate) size_bytes: u64,
    pub(crate) content_type: String,
    pub(crate) etag: String,
    /// `None` when the store keeps no SHA-256.
    pub(crate) checksum_sha256: Option<Vec<u8>>,
}

/// Where and how a verified file is copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Destination<'a> {
    pub(crate) key: &'a str,
    pub(crate) disposition: Disposition,
    pub(crate) time_limit: Duration,
}

/// Clones share connections.
#[derive(Clone)]
pub(crate) struct ObjectStore(Arc<Inner>);

struct Inner {
    client: Client,
    /// Signs for the endpoint that clients reach, and the private bucket.
    signer: Signer,
    /// Of the client; the signer has its own copy.
    keys: client::Keys,
    private_bucket: String,
    public_bucket: String,
    public_base_url: String,
}

impl fmt::Debug for ObjectStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ObjectStore")
    }
}

impl ObjectStore {
    pub(crate) fn new(settings: &S3) -> Self {
        let public_endpoint = settings
            .public_endpoint
            .as_ref()
            .unwrap_or(&settings.endpoint);
        let public_base_url = settings.public_base_url.as_ref().map_or_else(
            || signer::bucket_url(settings, public_endpoint, &settings.public_bucket),
            |url| client::without_slash(url).to_owned(),
        );
        let keys = client::Keys::new(settings);
        Self(Arc::new(Inner {
            client: client::connect(settings, &settings.endpoint, &keys),
            signer: Signer::new(settings, public_endpoint, &settings.private_bucket),
            keys,
            private_bucket: settings.private_bucket.clone(),
            public_bucket: settings.public_bucket.clone(),
            public_base_url,
        }))
    }

    /// Signs with the key pair of these settings from now on.
    pub(crate) fn rotate(&self, settings: &S3) {
        self.0.keys.rotate(settings);
        self.0.signer.rotate(settings);
    }

    /// The URL of a public object, which anyone can read.
    pub(crate) fn public_url(&self, key: &str) -> String {
        format!("{}/{key}", self.0.public_base_url)
    }

    /// The metadata of an upload; `None` when there is none.
    pub(crate) async fn head_incoming(
        &self,
        id: UploadId,
    ) -> Result<Option<ObjectHead>, ObjectError> {
        let request = self
            .0
            .client
            .head_object()
            .bucket(&self.0.private_bucket)
            .key(id.incoming_key())
            .checksum_mode(ChecksumMode::Enabled);
        span("s3.head_object", async {
            match request.send().await {
                Ok(head) => Ok(Some(ObjectHead::new(&head))),
                Err(SdkError::ServiceError(error)) if error.err().is_not_found() => Ok(None),
                Err(error) => Err(failed("read an object's metadata", error)),
            }
        })
        .await
    }

    /// The first bytes of the upload that `head` describes; `None` when it has been replaced.
    pub(crate) async fn first_bytes(
        &self,
        id: UploadId,
        head: &ObjectHead,
        count: u64,
    ) -> Result<Option<Vec<u8>>, ObjectError> {
        let request = self
            .read_incoming(id, head)
            .range(format!("bytes=0-{}", count.saturating_sub(1)));
        span("s3.get_object", async {
            let Some(response) = unless_replaced(request.send().await, "read an object")? else {
                return Ok(None);
            };
            // A store that ignores the range sends the whole object.
            let wanted = usize::try_from(count).unwrap_or(usize::MAX);
            let (mut body, mut bytes) = (response.body, Vec::new());
            while bytes.len() < wanted
                && let Some(chunk) = body.next().await
            {
                bytes.extend_from_slice(&chunk.map_err(read_failed)?);
            }
            bytes.truncate(wanted);
            Ok(Some(bytes))
        })
        .await
    }

    /// Reads the whole upload in chunks, for stores that keep no SHA-256; `None` when it has been
    /// replaced.
    pub(crate) async fn checksum(
        &self,
        id: UploadId,
        head: &ObjectHead,
    ) -> Result<Option<Vec<u8>>, ObjectError> {
        let request = self.read_incoming(id, head);
        span("s3.get_object", async {
            let Some(response) = unless_replaced(request.send().await, "read an object")? else {
                return Ok(None);
            };
            let mut body = response.body;
            let mut hash = Sha256::new();
            while let Some(chunk) = body.next().await {
                hash.update(&chunk.map_err(read_failed)?);
            }
            Ok(Some(hash.finalize().to_vec()))
        })
        .await
    }

    /// Copies the upload that `head` describes to its final place, with the declared media type.
    /// `false` when it has been replaced since: nothing is copied then.
    pub(crate) async fn publish(
        &self,
        upload: &UploadRow,
        head: &ObjectHead,
        to: &Destination<'_>,
    ) -> Result<bool, ObjectError> {
        let source = format!("{}/{}", self.0.private_bucket, upload.id.incoming_key());
        let attachment = to.disposition == Disposition::Attachment;
        let request = self
            .0
            .client
            .copy_object()
            .bucket(self.bucket(upload.visibility))
            .key(to.key)
            .copy_source(source)
            .copy_source_if_match(&head.etag)
            .metadata_directive(MetadataDirective::Replace)
            .content_type(&upload.content_type)
            .set_content_disposition(attachment.then(|| "attachment".to_owned()))
            .customize()
            .config_override(client::patient(to.time_limit));
        let copied = span("s3.copy_object", request.send()).await;
        Ok(unless_replaced(copied, "copy an object")?.is_some())
    }

    fn read_incoming(&self, id: UploadId, head: &ObjectHead) -> GetObjectFluentBuilder {
        self.0
            .client
            .get_object()
            .bucket(&self.0.private_bucket)
            .key(id.incoming_key())
            .if_match(&head.etag)
    }

    pub(crate) async fn delete_incoming(&self, id: UploadId) -> Result<(), ObjectError> {
        self.delete(Visibility::Private, &id.incoming_key()).await
    }

    /// Succeeds when the object does not exist.
    pub(crate) async fn delete(
        &self,
        visibility: Visibility,
        key: &str,
    ) -> Result<(), ObjectError> {
        let request = self
            .0
            .client
            .delete_object()
            .bucket(self.bucket(visibility))
            .key(key);
        span("s3.delete_object", request.send())
            .await
            .map_err(|error| failed("delete an object", error))?;
        Ok(())
    }

    /// Whether both buckets respond.
    pub(crate) async fn probe(&self) -> Result<(), ObjectError> {
        for bucket in [&self.0.private_bucket, &self.0.public_bucket] {
            let request = self.0.client.head_bucket().bucket(bucket);
            span("s3.head_bucket", request.send())
                .await
                .map_err(|error| failed("read a bucket's metadata", error))?;
        }
        Ok(())
    }

    /// Creates missing buckets. Safe to run on several replicas at once.
    pub(crate) async fn create_buckets(&self) -> Result<(), ObjectError> {
        for bucket in [&self.0.private_bucket, &self.0.public_bucket] {
            let request = self.0.client.create_bucket().bucket(bucket);
            match span("s3.create_bucket", request.send()).await {
                Ok(_) => {}
                Err(SdkError::ServiceError(error))
                    if error.err().is_bucket_already_owned_by_you()
                        || error.err().is_bucket_already_exists() => {}
                Err(error) => return Err(failed("create a bucket", error)),
            }
        }
        Ok(())
    }

    fn bucket(&self, visibility: Visibility) -> &str {
        match visibility {
            Visibility::Private => &self.0.private_bucket,
            Visibility::Public => &self.0.public_bucket,
        }
    }
}

impl ObjectHead {
    fn new(head: &HeadObjectOutput) -> Self {
        Self {
            size_bytes: head
                .content_length()
                .and_then(|length| length.try_into().ok())
                .unwrap_or(0),
            content_type: head.content_type().unwrap_or_default().to_owned(),
            etag: head.e_tag().unwrap_or_default().to_owned(),
            checksum_sha256: head
                .checksum_sha256()
                .and_then(|checksum| STANDARD.decode(checksum).ok()),
        }
    }
}

/// `None` when the object that was meant is gone or replaced by another. A bucket that is missing is
/// a failure of the store.
fn unless_replaced<T, E>(
    result: Result<T, SdkError<E>>,
    operation: &'static str,
) -> Result<Option<T>, ObjectError>
where
    E: ProvideErrorMetadata,
    SdkError<E>: std::error::Error,
{
    match result {
        Ok(output) => Ok(Some(output)),
        Err(error) => match error.raw_response().map(|raw| raw.status().as_u16()) {
            Some(412) => Ok(None),
            Some(404) if error.code() != Some(NO_BUCKET) => Ok(None),
            _ => Err(failed(operation, error)),
        },
    }
}

fn read_failed(error: impl std::error::Error) -> ObjectError {
    failed("read an object", error)
}

fn failed(operation: &'static str, error: impl std::error::Error) -> ObjectError {
    ObjectError {
        operation,
        message: DisplayErrorContext(error).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::{
        config::http::HttpResponse, error::ErrorMetadata, operation::copy_object::CopyObjectError,
        primitives::SdkBody,
    };

    use super::*;

    #[test]
    fn a_missing_bucket_is_not_a_replaced_object() {
        let outcome = |status: u16, code: &str| {
            let response = HttpResponse::new(status.try_into().unwrap(), SdkBody::empty());
            let error = CopyObjectError::generic(ErrorMetadata::builder().code(code).build());
            let error = SdkError::service_error(error, response);
            unless_replaced::<(), _>(Err(error), "copy an object")
        };
        for (status, code) in [(404, "NoSuchKey"), (412, "PreconditionFailed")] {
            assert!(matches!(outcome(status, code), Ok(None)), "{code}");
        }
        for (status, code) in [(404, "NoSuchBucket"), (403, "AccessDenied")] {
            let error = outcome(status, code).unwrap_err().to_string();
            assert!(error.contains(code), "{error}");
        }
    }
}
