//! One object in one file: the content, its metadata as JSON, a fixed footer.
//!
//! Content first means that an upload streams to the file before its digests are known,
//! and one file means that an open reader keeps a consistent object whatever happens to
//! the name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use s3s::dto::{Checksum, ETag, Timestamp};
use serde::{Deserialize, Serialize};

use super::optional;

const MAGIC: [u8; 8] = *b"QDSTORE1";
/// Length of the metadata (4 bytes, little endian), then the magic.
const FOOTER_BYTES: usize = 12;
const META_LIMIT_BYTES: u64 = 1 << 20;

/// Headers that come back as they were given.
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

/// Everything about an object but its content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) key: String,
    pub(crate) size: u64,
    /// Without the quotes.
    pub(crate) etag: String,
    pub(crate) modified_ms: u64,
    pub(crate) headers: Headers,
    pub(crate) checksums: Checksums,
}

impl Meta {
    pub(crate) fn etag(&self) -> ETag {
        ETag::Strong(self.etag.clone())
    }

    pub(crate) fn modified(&self) -> Timestamp {
        timestamp(self.modified_ms)
    }

    /// As `Last-Modified` shows it.
    pub(crate) fn modified_to_the_second(&self) -> Timestamp {
        timestamp(self.modified_ms - self.modified_ms % 1000)
    }
}

/// Digests that the client asked to be kept, in base64.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Checksums {
    pub(crate) crc32: Option<String>,
    pub(crate) crc32c: Option<String>,
    pub(crate) crc64nvme: Option<String>,
    pub(crate) sha1: Option<String>,
    pub(crate) sha256: Option<String>,
    /// `COMPOSITE` where the digest is one of the parts' digests.
    pub(crate) kind: Option<String>,
}

impl Checksums {
    /// Names of the digests that are there.
    pub(crate) fn algorithms(&self) -> impl Iterator<Item = &'static str> + use<> {
        let there = [
            ("CRC32", self.crc32.is_some()),
            ("CRC32C", self.crc32c.is_some()),
            ("CRC64NVME", self.crc64nvme.is_some()),
            ("SHA1", self.sha1.is_some()),
            ("SHA256", self.sha256.is_some()),
        ];
        there
            .into_iter()
            .filter(|(_, there)| *there)
            .map(|(name, _)| name)
    }

    /// The digest by `algorithm`, whatever the case of its name.
    pub(crate) fn get(&self, algorithm: &str) -> Option<&str> {
        let slot = match algorithm.to_ascii_uppercase().as_str() {
            "CRC32" => &self.crc32,
            "CRC32C" => &self.crc32c,
            "CRC64NVME" => &self.crc64nvme,
            "SHA1" => &self.sha1,
            "SHA256" => &self.sha256,
            _ => return None,
        };
        slot.as_deref()
    }

    /// Keeps a digest; one by an unknown algorithm is not kept.
    pub(crate) fn set(&mut self, algorithm: &str, digest: String) {
        let slot = match algorithm.to_ascii_uppercase().as_str() {
            "CRC32" => &mut self.crc32,
            "CRC32C" => &mut self.crc32c,
            "CRC64NVME" => &mut self.crc64nvme,
            "SHA1" => &mut self.sha1,
            "SHA256" => &mut self.sha256,
            _ => return,
        };
        *slot = Some(digest);
    }
}

impl From<Checksum> for Checksums {
    fn from(sums: Checksum) -> Self {
        Self {
            crc32: sums.checksum_crc32,
            crc32c: sums.checksum_crc32c,
            crc64nvme: sums.checksum_crc64nvme,
            sha1: sums.checksum_sha1,
            sha256: sums.checksum_sha256,
            kind: sums.checksum_type.map(|kind| kind.as_str().to_owned()),
        }
    }
}

/// An open object. It stays readable when the name is deleted or written anew.
pub(crate) struct Record {
    pub(crate) file: File,
    pub(crate) meta: Meta,
}

impl Record {
    /// Opens the object at `path`; `None` when there is none.
    pub(crate) fn open(path: &Path) -> io::Result<Option<Self>> {
        let Some(file) = optional(File::open(path))? else {
            return Ok(None);
        };
        let meta = read_meta(&file)?;
        Ok(Some(Self { file, meta }))
    }
}

/// Appends metadata and footer to a file that holds exactly the content.
pub(super) fn append_meta(file: &mut File, meta: &Meta) -> io::Result<()> {
    let mut tail = serde_json::to_vec(meta)?;
    let length = u32::try_from(tail.len()).map_err(io::Error::other)?;
    tail.extend_from_slice(&length.to_le_bytes());
    tail.extend_from_slice(&MAGIC);
    file.write_all(&tail)
}

fn read_meta(file: &File) -> io::Result<Meta> {
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
    let meta: Meta = serde_json::from_slice(&json)?;
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
