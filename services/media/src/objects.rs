//! The object store: two buckets behind the S3 API.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, Builder, Credentials, Region, RequestChecksumCalculation,
        ResponseChecksumValidation, retry::RetryConfig, timeout::TimeoutConfig,
    },
    error::{DisplayErrorContext, SdkError},
    presigning::{PresignedRequest, PresigningConfig},
    types::ChecksumMode,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use url::Url;

use crate::{config::S3, store::assets::Visibility};

/// RFC 8187: these letters stand for themselves in `filename*`.
const ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!');
const ATTEMPTS: u32 = 2;

/// The S3 API refused or did not answer. Holds no secret: the SDK does not print any.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {message}")]
pub(crate) struct ObjectError {
    operation: &'static str,
    message: String,
}

/// What is known of an object without reading it.
#[derive(Clone, Debug)]
pub(crate) struct ObjectHead {
    pub(crate) size_bytes: u64,
    pub(crate) content_type: String,
    pub(crate) etag: String,
    pub(crate) checksum_sha256: Option<Vec<u8>>,
}

/// What is signed into an upload address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promise<'a> {
    pub(crate) key: &'a str,
    pub(crate) visibility: Visibility,
    pub(crate) content_type: &'a str,
    pub(crate) size_bytes: i64,
    pub(crate) checksum_sha256: Option<&'a [u8]>,
    /// Whether browsers must save the file rather than show it.
    pub(crate) attachment: bool,
}

/// A signed address and the headers that must go with it.
#[derive(Clone, Debug)]
pub(crate) struct SignedRequest {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: BTreeMap<String, String>,
}

/// Clones share connections.
#[derive(Clone)]
pub(crate) struct Objects(Arc<Inner>);

struct Inner {
    client: Client,
    /// Signs for the address that clients reach.
    signer: Client,
    private_bucket: String,
    public_bucket: String,
    public_base_url: String,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Objects")
    }
}

impl Objects {
    pub(crate) fn new(settings: &S3) -> Self {
        let public_endpoint = settings
            .public_endpoint
            .as_ref()
            .unwrap_or(&settings.endpoint);
        let base = settings.public_base_url.as_ref().map_or_else(
            || format!("{}/{}", trimmed(public_endpoint), settings.public_bucket),
            |url| trimmed(url).to_owned(),
        );
        Self(Arc::new(Inner {
            client: client(settings, &settings.endpoint),
            signer: client(settings, public_endpoint),
            private_bucket: settings.private_bucket.clone(),
            public_bucket: settings.public_bucket.clone(),
            public_base_url: base,
        }))
    }

    /// Signs an upload without asking the store: size, type and checksum are part of the
    /// signature, and `if-none-match: *` makes a second upload fail.
    pub(crate) async fn sign_upload(
        &self,
        promise: Promise<'_>,
        now: DateTime<Utc>,
        ttl: Duration,
    ) -> Result<SignedRequest, ObjectError> {
        let signed = self
            .0
            .signer
            .put_object()
            .bucket(self.bucket(promise.visibility))
            .key(promise.key)
            .content_type(promise.content_type)
            .content_length(promise.size_bytes)
            .if_none_match("*")
            .set_content_disposition(promise.attachment.then(|| "attachment".to_owned()))
            .set_checksum_sha256(promise.checksum_sha256.map(|sum| STANDARD.encode(sum)))
            .presigned(presigning(now, ttl)?)
            .await
            .map_err(|error| failed("sign an upload", error))?;
        Ok(signed_request(&signed))
    }

    /// Signs a download that browsers save under the given name.
    pub(crate) async fn sign_download(
        &self,
        key: &str,
        file_name: &str,
        now: DateTime<Utc>,
        ttl: Duration,
    ) -> Result<SignedRequest, ObjectError> {
        let name = utf8_percent_encode(file_name, ATTR_CHAR);
        let signed = self
            .0
            .signer
            .get_object()
            .bucket(&self.0.private_bucket)
            .key(key)
            .response_content_disposition(format!("attachment; filename*=UTF-8''{name}"))
            .presigned(presigning(now, ttl)?)
            .await
            .map_err(|error| failed("sign a download", error))?;
        Ok(signed_request(&signed))
    }

    /// Where everybody can read a public object.
    pub(crate) fn public_url(&self, key: &str) -> String {
        format!("{}/{key}", self.0.public_base_url)
    }

    /// `None` when there is no such object.
    pub(crate) async fn head(
        &self,
        visibility: Visibility,
        key: &str,
    ) -> Result<Option<ObjectHead>, ObjectError> {
        let answer = self
            .0
            .client
            .head_object()
            .bucket(self.bucket(visibility))
            .key(key)
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await;
        match answer {
            Ok(head) => Ok(Some(ObjectHead {
                size_bytes: head
                    .content_length()
                    .and_then(|n| n.try_into().ok())
                    .unwrap_or(0),
                content_type: head.content_type().unwrap_or_default().to_owned(),
                etag: head.e_tag().unwrap_or_default().to_owned(),
                checksum_sha256: head
                    .checksum_sha256()
                    .and_then(|sum| STANDARD.decode(sum).ok()),
            })),
            Err(SdkError::ServiceError(error)) if error.err().is_not_found() => Ok(None),
            Err(error) => Err(failed("look at an object", error)),
        }
    }

    /// The first bytes of the version that `head` saw.
    pub(crate) async fn first_bytes(
        &self,
        visibility: Visibility,
        key: &str,
        etag: &str,
        count: u64,
    ) -> Result<Vec<u8>, ObjectError> {
        let answer = self
            .0
            .client
            .get_object()
            .bucket(self.bucket(visibility))
            .key(key)
            .if_match(etag)
            .range(format!("bytes=0-{}", count.saturating_sub(1)))
            .send()
            .await
            .map_err(|error| failed("read an object", error))?;
        let bytes = answer
            .body
            .collect()
            .await
            .map_err(|error| failed("read an object", error))?;
        Ok(bytes.to_vec())
    }

    /// Reads the whole object once, in pieces, for stores that do not keep SHA-256.
    pub(crate) async fn checksum(
        &self,
        visibility: Visibility,
        key: &str,
    ) -> Result<Vec<u8>, ObjectError> {
        let request = self
            .0
            .client
            .get_object()
            .bucket(self.bucket(visibility))
            .key(key);
        let mut body = request
            .send()
            .await
            .map_err(|error| failed("read an object", error))?
            .body;
        let mut hash = Sha256::new();
        while let Some(piece) = body.next().await {
            hash.update(&piece.map_err(|error| failed("read an object", error))?);
        }
        Ok(hash.finalize().to_vec())
    }

    /// Deleting what is not there succeeds.
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
        request
            .send()
            .await
            .map_err(|error| failed("delete an object", error))?;
        Ok(())
    }

    /// Whether both buckets answer.
    pub(crate) async fn probe(&self) -> Result<(), ObjectError> {
        for bucket in [&self.0.private_bucket, &self.0.public_bucket] {
            let request = self.0.client.head_bucket().bucket(bucket);
            request
                .send()
                .await
                .map_err(|error| failed("look at a bucket", error))?;
        }
        Ok(())
    }

    /// Several replicas may do this at once.
    pub(crate) async fn create_buckets(&self) -> Result<(), ObjectError> {
        for bucket in [&self.0.private_bucket, &self.0.public_bucket] {
            match self.0.client.create_bucket().bucket(bucket).send().await {
                Ok(_) => {}
                Err(SdkError::ServiceError(error))
                    if error.err().is_bucket_already_owned_by_you()
                        || error.err().is_bucket_already_exists() => {}
                Err(error) => return Err(failed("make a bucket", error)),
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

fn client(settings: &S3, endpoint: &Url) -> Client {
    let credentials = Credentials::new(
        settings.access_key.expose_secret(),
        settings.secret_key.expose_secret(),
        None,
        None,
        "settings",
    );
    let limit = Duration::from_secs(settings.timeout_seconds);
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(limit)
        .connect_timeout(limit)
        .build();
    let settings = Builder::new()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(settings.region.clone()))
        .endpoint_url(trimmed(endpoint))
        .credentials_provider(credentials)
        .force_path_style(settings.path_style)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        // R2 refuses the checksums that the SDK would add by itself.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    Client::from_conf(settings.build())
}

fn trimmed(url: &Url) -> &str {
    url.as_str().trim_end_matches('/')
}

fn presigning(now: DateTime<Utc>, ttl: Duration) -> Result<PresigningConfig, ObjectError> {
    PresigningConfig::builder()
        .start_time(SystemTime::from(now))
        .expires_in(ttl)
        .build()
        .map_err(|error| failed("sign", error))
}

fn signed_request(signed: &PresignedRequest) -> SignedRequest {
    SignedRequest {
        method: signed.method().to_owned(),
        url: signed.uri().to_owned(),
        headers: signed
            .headers()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect(),
    }
}

fn failed(operation: &'static str, error: impl std::error::Error) -> ObjectError {
    ObjectError {
        operation,
        message: DisplayErrorContext(error).to_string(),
    }
}
