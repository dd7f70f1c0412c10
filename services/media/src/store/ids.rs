//! Ids of uploads and versions, and the object keys that are made of them.

use quartet_db::typed_id;

typed_id!(
    /// The transfer of one file.
    pub(crate) UploadId,
    "upl"
);

typed_id!(
    /// The content of an asset.
    pub(crate) VersionId,
    "ver"
);

impl UploadId {
    /// Where the file arrives, in the private bucket.
    pub(crate) fn incoming_key(self) -> String {
        format!("incoming/{}", self.uuid())
    }
}

impl VersionId {
    /// Where the verified file goes.
    pub(crate) fn object_key(self) -> String {
        format!("uploads/{}", self.uuid())
    }
}
