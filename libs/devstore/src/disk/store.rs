use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use s3s::path::check_bucket_name;
use s3s::{S3Error, S3Result, s3_error};

use super::bucket::Bucket;
use super::conditions::WriteConditions;
use super::draft::{Draft, SealedDraft};
use super::record::{ObjectMetadata, Record};
use super::{Internal as _, optional, sync_directory};
use crate::options::Quirks;

const LOCKS: usize = 64;

type Buckets = BTreeMap<String, Arc<Bucket>>;

/// Everything below one directory.
pub(crate) struct Store {
    root: PathBuf,
    quirks: Quirks,
    buckets: RwLock<Buckets>,
    /// Serialize "check, then rename" per key, and per multipart upload.
    keys: [Mutex<()>; LOCKS],
    uploads: [Mutex<()>; LOCKS],
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
        let mut buckets = BTreeMap::new();
        for entry in fs::read_dir(root.join("buckets"))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Without the file, a crash interrupted its creation; creating it again completes it.
            if entry.path().join("bucket.json").exists() {
                buckets.insert(name.clone(), Arc::new(Bucket::open(&entry.path(), &name)?));
            }
        }
        Ok(Self {
            root: root.to_owned(),
            quirks,
            buckets: RwLock::new(buckets),
            keys: [const { Mutex::new(()) }; LOCKS],
            uploads: [const { Mutex::new(()) }; LOCKS],
            _lock: lock,
        })
    }

    fn buckets(&self) -> RwLockReadGuard<'_, Buckets> {
        self.buckets.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bucket, or `NoSuchBucket`.
    pub(crate) fn bucket(&self, name: &str) -> S3Result<Arc<Bucket>> {
        self.buckets().get(name).cloned().ok_or_else(no_such_bucket)
    }

    pub(crate) fn list_buckets(&self) -> Vec<Arc<Bucket>> {
        self.buckets().values().cloned().collect()
    }

    /// Creates the bucket unless it exists; returns whether it was created.
    pub(crate) fn ensure_bucket(&self, name: &str) -> io::Result<bool> {
        // `/health` is served by the server itself.
        if !check_bucket_name(name) || name == "health" {
            let text = format!("{name:?} is not a valid bucket name");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        if buckets.contains_key(name) {
            return Ok(false);
        }
        let parent = self.root.join("buckets");
        let bucket = Bucket::create(&parent.join(name), name)?;
        sync_directory(&parent)?;
        buckets.insert(name.to_owned(), Arc::new(bucket));
        Ok(true)
    }

    pub(crate) fn delete_bucket(&self, name: &str) -> S3Result<()> {
        let bucket = self.bucket(name)?;
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        match bucket.remove() {
            Ok(()) => {
                buckets.remove(name);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                Err(s3_error!(BucketNotEmpty, "The bucket is not empty"))
            }
            Err(error) => Err(S3Error::internal_error(error)),
        }
    }

    pub(crate) fn keeps_checksums(&self) -> bool {
        !self.quirks.keeps_no_checksums
    }

    /// A temporary file on the same file system as the objects.
    pub(crate) fn draft(&self, algorithms: &[String]) -> S3Result<Draft> {
        Draft::create(&self.root.join("tmp"), algorithms).internal()
    }

    /// Gives a sealed draft its name if the conditions hold at that moment.
    pub(crate) fn put(
        &self,
        bucket: &Bucket,
        conditions: &WriteConditions,
        sealed: SealedDraft,
    ) -> S3Result<ObjectMetadata> {
        let target = bucket.object(&sealed.meta.key);
        let _guard = lock(&self.keys, &sealed.meta.key);
        // Held to the end: no object may arrive in a bucket while it is being deleted.
        let buckets = self.buckets();
        let held = buckets.get(&bucket.name);
        if !held.is_some_and(|held| std::ptr::eq(Arc::as_ptr(held), bucket)) {
            return Err(no_such_bucket());
        }
        let present = Record::open(&target).internal()?;
        if !self.quirks.ignores_write_conditions {
            conditions.check(present.as_ref().map(|record| &record.meta))?;
        }
        if let Some(shard) = target.parent() {
            fs::create_dir_all(shard).internal()?;
        }
        sealed.commit(&target).internal()
    }

    /// Removes an object if the conditions hold. Absence of the object is not an error.
    pub(crate) fn delete(
        &self,
        bucket: &Bucket,
        conditions: &WriteConditions,
        key: &str,
    ) -> S3Result<()> {
        let target = bucket.object(key);
        let _guard = lock(&self.keys, key);
        let present = Record::open(&target).internal()?;
        conditions.check(present.as_ref().map(|record| &record.meta))?;
        if optional(fs::remove_file(&target)).internal()?.is_some() {
            sync_directory(target.parent().unwrap_or(&target)).internal()?;
        }
        Ok(())
    }

    pub(super) fn lock_upload(&self, id: &str) -> MutexGuard<'_, ()> {
        lock(&self.uploads, id)
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

fn no_such_bucket() -> S3Error {
    s3_error!(NoSuchBucket, "The bucket does not exist")
}

fn lock<'a>(locks: &'a [Mutex<()>; LOCKS], name: &str) -> MutexGuard<'a, ()> {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(name);
    let index = usize::try_from(hash % LOCKS as u64).unwrap_or_default();
    locks[index].lock().unwrap_or_else(PoisonError::into_inner)
}
