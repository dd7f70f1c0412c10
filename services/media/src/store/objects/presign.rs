//! Signed URLs. Signing is local: it sends no request.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::store::{
    assets::Visibility,
    objects::{ObjectError, ObjectStore, failed},
    uploads::UploadRow,
};

/// RFC 8187 `attr-char`: not escaped in `filename*`.
const ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!');

/// How browsers handle the file behind a public URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    Inline,
    Attachment,
}

/// How long a signed URL is valid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validity {
    pub(crate) from: DateTime<Utc>,
    pub(crate) ttl: Duration,
}

/// A signed URL and the headers that are part of the signature.
#[derive(Clone, Debug)]
pub(crate) struct SignedRequest {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl ObjectStore {
    /// Signs an upload, to a private key of its own. Size, media type and checksum are part of the
    /// signature, and `if-none-match: *` makes a second upload fail.
    pub(crate) async fn sign_upload(
        &self,
        upload: &UploadRow,
        disposition: Disposition,
        validity: Validity,
    ) -> Result<SignedRequest, ObjectError> {
        let attachment = disposition == Disposition::Attachment;
        let checksum = upload.checksum_sha256.as_ref();
        let signed = self
            .0
            .signer
            .put_object()
            .bucket(&self.0.private_bucket)
            .key(upload.id.incoming_key())
            .content_type(&upload.content_type)
            .content_length(upload.size_bytes)
            .if_none_match("*")
            .set_content_disposition(attachment.then(|| "attachment".to_owned()))
            .set_checksum_sha256(checksum.map(|checksum| STANDARD.encode(checksum)))
            .presigned(validity.to_config()?)
            .await
            .map_err(|error| failed("sign an upload", error))?;
        Ok(SignedRequest::new(&signed))
    }

    /// Signs the download of a private asset, which browsers save under its file name.
    pub(crate) async fn sign_download(
        &self,
        object_key: &str,
        file_name: &str,
        validity: Validity,
    ) -> Result<SignedRequest, ObjectError> {
        let name = utf8_percent_encode(file_name, ATTR_CHAR);
        let signed = self
            .0
            .signer
            .get_object()
            .bucket(self.bucket(Visibility::Private))
            .key(object_key)
            .response_content_disposition(format!("attachment; filename*=UTF-8''{name}"))
            .presigned(validity.to_config()?)
            .await
            .map_err(|error| failed("sign a download", error))?;
        Ok(SignedRequest::new(&signed))
    }
}

impl Validity {
    pub(crate) fn ends_at(self) -> DateTime<Utc> {
        self.from + self.ttl
    }

    fn to_config(self) -> Result<PresigningConfig, ObjectError> {
        PresigningConfig::builder()
            .start_time(SystemTime::from(self.from))
            .expires_in(self.ttl)
            .build()
            .map_err(|error| failed("sign a URL", error))
    }
}

impl SignedRequest {
    fn new(signed: &PresignedRequest) -> Self {
        Self {
            method: signed.method().to_owned(),
            url: signed.uri().to_owned(),
            headers: signed
                .headers()
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
        }
    }
}
