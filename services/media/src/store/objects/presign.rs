//! Signed URLs of uploads and downloads.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::signer::Unsigned;
use crate::store::{assets::AssetRow, objects::ObjectStore};

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
    /// Signs the upload of an asset, to a private key of its own. Size, media type and checksum are
    /// part of the signature, and `if-none-match: *` makes a second upload fail.
    pub(crate) fn sign_upload(
        &self,
        asset: &AssetRow,
        disposition: Disposition,
        validity: Validity,
    ) -> SignedRequest {
        let mut headers = BTreeMap::from([
            ("content-length", asset.size_bytes.to_string()),
            ("content-type", asset.content_type.clone()),
            ("if-none-match", "*".to_owned()),
        ]);
        if disposition == Disposition::Attachment {
            headers.insert("content-disposition", "attachment".to_owned());
        }
        if let Some(checksum) = &asset.checksum_sha256 {
            headers.insert("x-amz-checksum-sha256", STANDARD.encode(checksum));
        }
        let request = Unsigned {
            method: "PUT",
            key: &asset.id.incoming_key(),
            query: &[("x-id", "PutObject".to_owned())],
            headers,
        };
        self.0.signer.sign(request, validity)
    }

    /// Signs the download of a private asset, which browsers save under its file name.
    pub(crate) fn sign_download(&self, asset: &AssetRow, validity: Validity) -> SignedRequest {
        let name = utf8_percent_encode(&asset.file_name, ATTR_CHAR);
        let disposition = format!("attachment; filename*=UTF-8''{name}");
        let request = Unsigned {
            method: "GET",
            key: &asset.object_key,
            query: &[
                ("response-content-disposition", disposition),
                ("x-id", "GetObject".to_owned()),
            ],
            headers: BTreeMap::new(),
        };
        self.0.signer.sign(request, validity)
    }
}

impl Validity {
    pub(crate) fn ends_at(self) -> DateTime<Utc> {
        self.from + self.ttl
    }
}
