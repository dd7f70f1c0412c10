//! One object in one file: the content, its metadata as JSON, a footer.
//!
//! The content comes first, so that an upload can stream to the file before its digests
//! are known. It is one file, so that an open reader keeps a consistent object when the
//! name is replaced or removed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use s3s::dto::{ETag, Timestamp};
use serde::{Deserialize, Serialize};

use super::optional;

/// The length of the metadata, little endian.
const FOOTER_BYTES: usize = 4;
const META_LIMIT_BYTES: u64 = 1 << 20;

/// The headers of digests, in base64.
pub(crate) const CHECKSUMS: [&str; 5] = [
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
];

/// Values by the lower-case name of the header.
pub(crate) type Headers = BTreeMap<String, String>;

/// Everything about an object except its content.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) key: String,
    pub(crate) size: u64,
    /// Without the quotes.
    pub(crate) etag: String,
    /// Seconds since 1970, as precise as `Last-Modified`.
    pub(crate) modified: u64,
    /// Returned as they were sent.
    pub(crate) headers: Headers,
    /// Those that the client has sent, or asked the store to keep.
    pub(crate) checksums: Headers,
}

impl Metadata {
    pub(crate) fn etag(&self) -> ETag {
        ETag::Strong(self.etag.clone())
    }

    pub(crate) fn modified(&self) -> Timestamp {
        Timestamp::from(UNIX_EPOCH + Duration::from_secs(self.modified))
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.unwrap_or_default().as_secs()
}

/// An open object. It stays readable when its name is deleted or replaced.
pub(crate) struct Object {
    pub(crate) file: File,
    pub(crate) meta: Metadata,
}

impl Object {
    /// Opens the object at `path`; `None` if it does not exist.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let Some(file) = optional(File::open(path))? else {
            return Ok(None);
        };
        let meta = read_metadata(&file)?;
        Ok(Some(Self { file, meta }))
    }
}

/// Appends metadata and footer to a file that contains exactly the content.
pub(super) fn append_metadata(file: &mut File, meta: &Metadata) -> io::Result<()> {
    let mut tail = serde_json::to_vec(meta)?;
    let length = u32::try_from(tail.len()).map_err(io::Error::other)?;
    tail.extend_from_slice(&length.to_le_bytes());
    file.write_all(&tail)
}

fn read_metadata(file: &File) -> io::Result<Metadata> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the object file is damaged");
    let end = file.metadata()?.len().checked_sub(FOOTER_BYTES as u64);
    let end = end.ok_or_else(damaged)?;
    let mut footer = [0; FOOTER_BYTES];
    file.read_exact_at(&mut footer, end)?;
    let length = u32::from_le_bytes(footer).into();
    let start = end
        .checked_sub(length)
        .filter(|_| length <= META_LIMIT_BYTES);
    let start = start.ok_or_else(damaged)?;
    let mut json = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut json, start)?;
    let meta: Metadata = serde_json::from_slice(&json)?;
    if meta.size == start {
        Ok(meta)
    } else {
        Err(damaged())
    }
}
