use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use s3s::path::check_bucket_name;
use s3s::{S3Error, S3Result, s3_error};

use super::draft::{Draft, Sealed};
use super::record::{Meta, Record};
use super::{Bucket, optional, sync_directory};

const LOCKS: usize = 64;

/// Everything below one directory.
pub(crate) struct Store {
    root: PathBuf,
    buckets: RwLock<BTreeMap<String, Arc<Bucket>>>,
    /// Serialise "look, then rename" per key, and per multipart upload.
    keys: [Mutex<()>; LOCKS],
    uploads: [Mutex<()>; LOCKS],
    /// Held for the life of the store.
    _lock: File,
}

/// One write: where to, and what must hold for the object that is there.
pub(crate) struct Write<'a> {
    pub(crate) bucket: &'a Bucket,
    pub(crate) condition: &'a (dyn Fn(Option<&Meta>) -> S3Result<()> + 'a),
}

impl Store {
    /// Opens the directory, makes it when absent, and forgets drafts of an earlier run.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let told = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("cannot use {}: {error}", root.display()),
            )
        };
        fs::create_dir_all(root.join("buckets")).map_err(told)?;
        let lock = File::create(root.join("lock")).map_err(told)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                io::Error::other(format!("{} is in use by another server", root.display()))
            }
            TryLockError::Error(error) => told(error),
        })?;
        optional(fs::remove_dir_all(root.join("tmp"))).map_err(told)?;
        fs::create_dir_all(root.join("tmp")).map_err(told)?;
        let mut buckets = BTreeMap::new();
        for entry in fs::read_dir(root.join("buckets"))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Half made by a crash; making it again completes it.
            if entry.path().join("bucket.json").exists() {
                buckets.insert(name.clone(), Arc::new(Bucket::open(&entry.path(), &name)?));
            }
        }
        Ok(Self {
            root: root.to_owned(),
            buckets: RwLock::new(buckets),
            keys: [const { Mutex::new(()) }; LOCKS],
            uploads: [const { Mutex::new(()) }; LOCKS],
            _lock: lock,
        })
    }

    /// The bucket, or `NoSuchBucket`.
    pub(crate) fn bucket(&self, name: &str) -> S3Result<Arc<Bucket>> {
        let buckets = self.buckets.read().unwrap_or_else(PoisonError::into_inner);
        buckets
            .get(name)
            .cloned()
            .ok_or_else(|| s3_error!(NoSuchBucket, "The specified bucket does not exist"))
    }

    pub(crate) fn list_buckets(&self) -> Vec<Arc<Bucket>> {
        let buckets = self.buckets.read().unwrap_or_else(PoisonError::into_inner);
        buckets.values().cloned().collect()
    }

    /// Makes the bucket unless it exists; tells whether it was made.
    pub(crate) fn ensure_bucket(&self, name: &str) -> io::Result<bool> {
        // `/health` answers for the server itself.
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
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Err(s3_error!(
                BucketNotEmpty,
                "The bucket you tried to delete is not empty"
            )),
            Err(error) => Err(S3Error::internal_error(error)),
        }
    }

    /// A temporary file on the same file system as the objects.
    pub(crate) fn draft(&self, algorithms: &[String]) -> S3Result<Draft> {
        Draft::create(&self.root.join("tmp"), algorithms).map_err(S3Error::internal_error)
    }

    /// Gives a sealed draft its name if the condition holds for what is there at that moment.
    pub(crate) fn put(&self, write: &Write<'_>, sealed: Sealed) -> S3Result<Meta> {
        let target = write.bucket.object(&sealed.meta.key);
        let _guard = lock(&self.keys, &sealed.meta.key);
        // Held to the end: an object must not arrive in a bucket that is just being deleted.
        let buckets = self.buckets.read().unwrap_or_else(PoisonError::into_inner);
        let present = buckets
            .get(&write.bucket.name)
            .is_some_and(|held| std::ptr::eq(Arc::as_ptr(held), write.bucket));
        if !present {
            return Err(s3_error!(
                NoSuchBucket,
                "The specified bucket does not exist"
            ));
        }
        let present = Record::open(&target).map_err(S3Error::internal_error)?;
        (write.condition)(present.as_ref().map(|record| &record.meta))?;
        if let Some(shard) = target.parent() {
            fs::create_dir_all(shard).map_err(S3Error::internal_error)?;
        }
        sealed.commit(&target).map_err(S3Error::internal_error)
    }

    /// Removes an object if the condition holds; one that does not exist is no error.
    pub(crate) fn delete(&self, write: &Write<'_>, key: &str) -> S3Result<()> {
        let target = write.bucket.object(key);
        let _guard = lock(&self.keys, key);
        let present = Record::open(&target).map_err(S3Error::internal_error)?;
        (write.condition)(present.as_ref().map(|record| &record.meta))?;
        if optional(fs::remove_file(&target))
            .map_err(S3Error::internal_error)?
            .is_some()
        {
            let shard = target.parent().unwrap_or(&target);
            sync_directory(shard).map_err(S3Error::internal_error)?;
        }
        Ok(())
    }

    pub(super) fn lock_upload(&self, id: &str) -> MutexGuard<'_, ()> {
        lock(&self.uploads, id)
    }
}

fn lock<'a>(locks: &'a [Mutex<()>; LOCKS], name: &str) -> MutexGuard<'a, ()> {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(name);
    let index = usize::try_from(hash % LOCKS as u64).unwrap_or_default();
    locks[index].lock().unwrap_or_else(PoisonError::into_inner)
}
