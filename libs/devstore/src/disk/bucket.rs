use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use s3s::crypto::{Checksum as _, Sha256};
use s3s::{S3Error, S3Result, s3_error};
use serde::{Deserialize, Serialize};

use super::draft::hex;
use super::record::{Meta, Record};
use super::{now_ms, sync_directory};
use crate::cors::Rule;

/// One bucket; `bucket.json` holds what is not objects.
pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) created_ms: u64,
    directory: PathBuf,
    cors: RwLock<Option<Vec<Rule>>>,
}

#[derive(Serialize, Deserialize)]
struct BucketFile {
    created_ms: u64,
    cors: Option<Vec<Rule>>,
}

impl Bucket {
    /// Makes the directories and the file; one that exists already is opened.
    pub(super) fn create(directory: &Path, name: &str) -> io::Result<Self> {
        for sub in ["objects", "uploads"] {
            fs::create_dir_all(directory.join(sub))?;
        }
        if !directory.join("bucket.json").exists() {
            write_file(
                directory,
                &BucketFile {
                    created_ms: now_ms(),
                    cors: None,
                },
            )?;
        }
        Self::open(directory, name)
    }

    pub(super) fn open(directory: &Path, name: &str) -> io::Result<Self> {
        let file: BucketFile = serde_json::from_slice(&fs::read(directory.join("bucket.json"))?)?;
        Ok(Self {
            name: name.to_owned(),
            created_ms: file.created_ms,
            directory: directory.to_owned(),
            cors: RwLock::new(file.cors),
        })
    }

    /// The rules that were put, if any.
    pub(crate) fn cors(&self) -> Option<Vec<Rule>> {
        self.cors
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set_cors(&self, rules: Option<Vec<Rule>>) -> io::Result<()> {
        let mut held = self.cors.write().unwrap_or_else(PoisonError::into_inner);
        let file = BucketFile {
            created_ms: self.created_ms,
            cors: rules,
        };
        write_file(&self.directory, &file)?;
        *held = file.cors;
        Ok(())
    }

    /// Opens an object, or `NoSuchKey`.
    pub(crate) fn get(&self, key: &str) -> S3Result<Record> {
        Record::open(&self.object(key))
            .map_err(S3Error::internal_error)?
            .ok_or_else(|| s3_error!(NoSuchKey, "The specified key does not exist."))
    }

    /// Metadata of every object whose key starts with `prefix`, in key order.
    pub(crate) fn list(&self, prefix: &str) -> S3Result<BTreeMap<String, Meta>> {
        let collect = || -> io::Result<BTreeMap<String, Meta>> {
            let mut found = BTreeMap::new();
            for shard in fs::read_dir(self.objects())? {
                for entry in fs::read_dir(shard?.path())? {
                    // Deleted since the directory was read: not listed.
                    let Some(record) = Record::open(&entry?.path())? else {
                        continue;
                    };
                    if record.meta.key.starts_with(prefix) {
                        found.insert(record.meta.key.clone(), record.meta);
                    }
                }
            }
            Ok(found)
        };
        collect().map_err(S3Error::internal_error)
    }

    pub(super) fn objects(&self) -> PathBuf {
        self.directory.join("objects")
    }

    pub(super) fn uploads(&self) -> PathBuf {
        self.directory.join("uploads")
    }

    /// Where the object `key` lives. Keys are hashed, so no key can name another place.
    pub(super) fn object(&self, key: &str) -> PathBuf {
        let name = hex(Sha256::checksum(key.as_bytes()).as_ref());
        self.objects().join(&name[..2]).join(name)
    }

    /// Removes the directories; fails with `DirectoryNotEmpty` while an object is left.
    pub(super) fn remove(&self) -> io::Result<()> {
        for shard in fs::read_dir(self.objects())? {
            fs::remove_dir(shard?.path())?;
        }
        fs::remove_dir(self.objects())?;
        fs::remove_dir_all(&self.directory)?;
        sync_directory(self.directory.parent().unwrap_or(&self.directory))
    }
}

fn write_file(directory: &Path, file: &BucketFile) -> io::Result<()> {
    let draft = directory.join("bucket.json.new");
    fs::write(&draft, serde_json::to_vec_pretty(file)?)?;
    fs::File::open(&draft)?.sync_all()?;
    fs::rename(&draft, directory.join("bucket.json"))?;
    sync_directory(directory)
}
