//! Signed URLs of uploads and downloads.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::signer::{SignedRequest, UnsignedRequest, Validity};
use crate::store::{objects::ObjectStore, uploads::UploadRow};

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

impl ObjectStore {
    /// Signs an upload, to a private key of its own. Size, media type and checksum are
    /// part of the signature, and `if-none-match: *` makes a second upload fail.
    pub(crate) fn sign_upload(
        &self,
        upload: &UploadRow,
        disposition: Disposition,
        validity: Validity,
    ) -> SignedRequest {
        let mut headers = BTreeMap::from([
            ("content-length", upload.size_bytes.to_string()),
            ("content-type", upload.content_type.clone()),
            ("if-none-match", "*".to_owned()),
        ]);
        if disposition == Disposition::Attachment {
            headers.insert("content-disposition", "attachment".to_owned());
        }
        if let Some(checksum) = &upload.checksum_sha256 {
            headers.insert("x-amz-checksum-sha256", STANDARD.encode(checksum));
        }
        let request = UnsignedRequest {
            method: "PUT",
            key: &upload.id.incoming_key(),
            query: &[("x-id", "PutObject".to_owned())],
            headers,
        };
        self.0.signer.sign(request, validity)
    }

    /// Signs the download of a private asset, which browsers save under its file name.
    pub(crate) fn sign_download(
        &self,
        object_key: &str,
        file_name: &str,
        validity: Validity,
    ) -> SignedRequest {
        let name = utf8_percent_encode(file_name, ATTR_CHAR);
        let disposition = format!("attachment; filename*=UTF-8''{name}");
        let request = UnsignedRequest {
            method: "GET",
            key: object_key,
            query: &[
                ("response-content-disposition", disposition),
                ("x-id", "GetObject".to_owned()),
            ],
            headers: BTreeMap::new(),
        };
        self.0.signer.sign(request, validity)
    }
}
