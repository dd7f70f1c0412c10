//! One object in one file: the content, its metadata as JSON, a fixed footer.
//!
//! The content comes first, so that an upload can stream to the file before its digests
//! are known. It is one file, so that an open reader keeps a consistent object when the
//! name is replaced or removed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use s3s::dto::{ETag, Timestamp};
use serde::{Deserialize, Serialize};

use super::checksums::Checksums;
use super::optional;

const MAGIC: [u8; 8] = *b"QDSTORE1";
/// Length of the metadata (4 bytes, little endian), then the magic.
const FOOTER_BYTES: usize = 12;
const META_LIMIT_BYTES: u64 = 1 << 20;

/// Headers that are returned as they were sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Headers {
    pub(crate) content_type: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_language: Option<String>,
    pub(crate) cache_control: Option<String>,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) user: BTreeMap<String, String>,
}

/// Everything about an object except its content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ObjectMetadata {
    pub(crate) key: String,
    pub(crate) size: u64,
    /// Without the quotes.
    pub(crate) etag: String,
    pub(crate) modified_ms: u64,
    pub(crate) headers: Headers,
    pub(crate) checksums: Checksums,
}

impl ObjectMetadata {
    pub(crate) fn etag(&self) -> ETag {
        ETag::Strong(self.etag.clone())
    }

    pub(crate) fn modified(&self) -> Timestamp {
        timestamp(self.modified_ms)
    }

    /// In whole seconds, as in `Last-Modified`.
    pub(crate) fn modified_to_the_second(&self) -> Timestamp {
        timestamp(self.modified_ms - self.modified_ms % 1000)
    }
}

/// An open object. It stays readable when its name is deleted or replaced.
pub(crate) struct Record {
    pub(crate) file: File,
    pub(crate) meta: ObjectMetadata,
}

impl Record {
    /// Opens the object at `path`; `None` if it does not exist.
    pub(crate) fn open(path: &Path) -> io::Result<Option<Self>> {
        let Some(file) = optional(File::open(path))? else {
            return Ok(None);
        };
        let meta = read_meta(&file)?;
        Ok(Some(Self { file, meta }))
    }
}

/// Appends metadata and footer to a file that contains exactly the content.
pub(super) fn append_meta(file: &mut File, meta: &ObjectMetadata) -> io::Result<()> {
    let mut tail = serde_json::to_vec(meta)?;
    let length = u32::try_from(tail.len()).map_err(io::Error::other)?;
    tail.extend_from_slice(&length.to_le_bytes());
    tail.extend_from_slice(&MAGIC);
    file.write_all(&tail)
}

fn read_meta(file: &File) -> io::Result<ObjectMetadata> {
    let length = file.metadata()?.len();
    let start = length
        .checked_sub(FOOTER_BYTES as u64)
        .ok_or_else(damaged)?;
    let mut footer = [0; FOOTER_BYTES];
    file.read_exact_at(&mut footer, start)?;
    let [a, b, c, d, magic @ ..] = footer;
    let meta_bytes = u64::from(u32::from_le_bytes([a, b, c, d]));
    let meta_start = start.checked_sub(meta_bytes).ok_or_else(damaged)?;
    if magic != MAGIC || meta_bytes > META_LIMIT_BYTES {
        return Err(damaged());
    }
    let mut json = vec![0; usize::try_from(meta_bytes).map_err(io::Error::other)?];
    file.read_exact_at(&mut json, meta_start)?;
    let meta: ObjectMetadata = serde_json::from_slice(&json)?;
    if meta.size == meta_start {
        Ok(meta)
    } else {
        Err(damaged())
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the object file is damaged")
}

pub(crate) fn timestamp(ms: u64) -> Timestamp {
    Timestamp::from(std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms))
}
