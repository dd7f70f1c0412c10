//! The store: objects as files, names hashed, every change one atomic rename.
//!
//! ```text
//! lock                             held by the server that owns the directory
//! tmp/                             drafts; emptied at start
//! buckets/<name>/objects/<sha256>  one object: content, metadata, footer
//! ```
//!
//! A write is a draft in `tmp/` until it is complete, checked and synced; then it is
//! renamed to its final name while other writes wait. A crash at any point leaves the
//! old object or the new one, never a mixture.

mod conditions;
mod draft;
mod object;

pub(crate) use conditions::{Conditions, failed};
pub(crate) use draft::{Draft, Promised};
pub(crate) use object::{CHECKSUMS, Headers, Metadata, Object};

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use s3s::crypto::{Checksum as _, Sha256};
use s3s::path::check_bucket_name;
use s3s::{S3Error, S3Result, s3_error};

use crate::options::Quirks;
use draft::SealedDraft;

/// Everything below one directory.
pub(crate) struct Store {
    root: PathBuf,
    quirks: Quirks,
    /// Held while conditions are checked and the name is changed.
    writes: Mutex<()>,
    /// Held for the life of the store.
    _lock: File,
}

impl Store {
    /// Opens the directory, creates it if absent, and removes drafts of an earlier run.
    pub(crate) fn open(root: &Path, quirks: Quirks) -> io::Result<Self> {
        let lock = prepare(root).map_err(|error| {
            let text = format!("cannot use {}: {error}", root.display());
            io::Error::new(error.kind(), text)
        })?;
        Ok(Self {
            root: root.to_owned(),
            quirks,
            writes: Mutex::new(()),
            _lock: lock,
        })
    }

    /// The bucket, or `NoSuchBucket`.
    pub(crate) fn bucket(&self, name: &str) -> S3Result<Bucket> {
        let objects = self.root.join("buckets").join(name).join("objects");
        // Anything else than a name could be another path.
        if check_bucket_name(name) && objects.is_dir() {
            return Ok(Bucket { objects });
        }
        Err(s3_error!(NoSuchBucket, "The bucket does not exist"))
    }

    /// Creates the bucket unless it exists; returns whether it was created.
    pub(crate) fn ensure_bucket(&self, name: &str) -> io::Result<bool> {
        // `/health` is served by the server itself.
        if !check_bucket_name(name) || name == "health" {
            let text = format!("{name:?} is not a valid bucket name");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let parent = self.root.join("buckets");
        let directory = parent.join(name);
        fs::create_dir_all(&directory)?;
        match fs::create_dir(directory.join("objects")) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            created => created?,
        }
        sync_directory(&directory)?;
        sync_directory(&parent)?;
        Ok(true)
    }

    pub(crate) fn keeps_checksums(&self) -> bool {
        !self.quirks.keeps_no_checksums
    }

    /// A temporary file on the same file system as the objects, which computes these
    /// checksums.
    pub(crate) fn draft<'a>(
        &self,
        checksums: impl IntoIterator<Item = &'a String>,
    ) -> S3Result<Draft> {
        Draft::create(&self.root.join("tmp"), checksums).internal()
    }

    /// Gives a sealed draft its name if the conditions hold at that moment.
    pub(crate) fn put(
        &self,
        bucket: &Bucket,
        conditions: &Conditions,
        sealed: SealedDraft,
    ) -> S3Result<Metadata> {
        let target = bucket.path(&sealed.meta.key);
        let _guard = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let present = Object::open(&target).internal()?;
        if !self.quirks.ignores_write_conditions {
            conditions.check_write(present.as_ref().map(|object| &object.meta))?;
        }
        sealed.commit(&target).internal()
    }
}

/// A bucket that exists: they are never removed.
pub(crate) struct Bucket {
    objects: PathBuf,
}

impl Bucket {
    /// Where the object `key` is. Keys are hashed, so that none can name another path.
    fn path(&self, key: &str) -> PathBuf {
        let hash = Sha256::checksum(key.as_bytes());
        self.objects.join(hex::encode(hash.as_ref()))
    }

    /// Opens an object, or fails with `NoSuchKey`.
    pub(crate) fn get(&self, key: &str) -> S3Result<Object> {
        Object::open(&self.path(key))
            .internal()?
            .ok_or_else(|| s3_error!(NoSuchKey, "The key does not exist"))
    }

    /// Removes an object. Its absence is not an error.
    pub(crate) fn delete(&self, key: &str) -> S3Result<()> {
        let removed = optional(fs::remove_file(self.path(key))).internal()?;
        removed.map_or(Ok(()), |()| sync_directory(&self.objects).internal())
    }

    /// Metadata of every object whose key starts with `prefix`, in key order.
    pub(crate) fn list(&self, prefix: &str) -> io::Result<BTreeMap<String, Metadata>> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(&self.objects)? {
            // Deleted since the directory was read: not listed.
            let Some(object) = Object::open(&entry?.path())? else {
                continue;
            };
            if object.meta.key.starts_with(prefix) {
                found.insert(object.meta.key.clone(), object.meta);
            }
        }
        Ok(found)
    }
}

/// Creates the directories and takes the lock that keeps other servers out.
fn prepare(root: &Path) -> io::Result<File> {
    fs::create_dir_all(root.join("buckets"))?;
    let lock = File::create(root.join("lock"))?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::other("it is in use by another server"),
        TryLockError::Error(error) => error,
    })?;
    optional(fs::remove_dir_all(root.join("tmp")))?;
    fs::create_dir_all(root.join("tmp"))?;
    Ok(lock)
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

/// `Ok(None)` if the file does not exist.
fn optional<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
