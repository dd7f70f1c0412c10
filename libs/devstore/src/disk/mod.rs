//! The store: objects as files, names hashed, every change one atomic rename.
//!
//! ```text
//! lock                                     held by the server that owns the directory
//! tmp/                                     drafts; emptied at start
//! buckets/<name>/bucket.json               creation time and CORS rules
//! buckets/<name>/objects/<aa>/<sha256>     one object: content, metadata, footer
//! buckets/<name>/uploads/<id>/upload.json  one multipart upload
//! buckets/<name>/uploads/<id>/part-00001   one part, same format as an object
//! ```
//!
//! A write is a draft in `tmp/` until it is complete, checked and synced; then it is
//! renamed to its final name while its key is locked. A crash at any point leaves the
//! old object or the new one, never a mixture.

mod bucket;
mod checksums;
mod conditions;
mod draft;
mod record;
mod store;
mod uploads;

pub(crate) use bucket::Bucket;
pub(crate) use checksums::Checksums;
pub(crate) use conditions::{ReadConditions, WriteConditions, failed};
pub(crate) use draft::{DeclaredContent, Draft, receive};
pub(crate) use record::{Headers, ObjectMetadata, Record, timestamp};
pub(crate) use store::Store;
pub(crate) use uploads::{PartRef, Upload};

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use s3s::{S3Error, S3Result};
use serde::Serialize;

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// Runs blocking file work on a thread for it.
pub(crate) async fn blocking<T, F>(work: F) -> S3Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> S3Result<T> + Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .map_err(S3Error::internal_error)?
}

/// Failures of the disk, which clients see as `InternalError`.
pub(crate) trait Internal<T> {
    fn internal(self) -> S3Result<T>;
}

impl<T> Internal<T> for io::Result<T> {
    fn internal(self) -> S3Result<T> {
        self.map_err(S3Error::internal_error)
    }
}

/// Makes a rename or a removal inside `directory` durable.
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Writes a JSON file, completely or not at all.
fn write_json(directory: &Path, name: &str, value: &impl Serialize) -> io::Result<()> {
    let draft = directory.join(format!("{name}.new"));
    fs::write(&draft, serde_json::to_vec_pretty(value)?)?;
    File::open(&draft)?.sync_all()?;
    fs::rename(&draft, directory.join(name))?;
    sync_directory(directory)
}

/// `Ok(None)` if the file does not exist.
fn optional<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
