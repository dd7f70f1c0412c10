use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use s3s::crypto::{Checksum as _, Sha256};
use s3s::dto::CORSRule;
use s3s::{S3Result, s3_error};
use serde::{Deserialize, Serialize};

use super::draft::hex;
use super::record::{ObjectMetadata, Record};
use super::{Internal as _, now_ms, sync_directory, write_json};

const FILE: &str = "bucket.json";

/// One bucket.
pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) created_ms: u64,
    directory: PathBuf,
    cors: RwLock<Option<Vec<CORSRule>>>,
}

/// What a bucket has besides objects.
#[derive(Serialize, Deserialize)]
struct BucketFile {
    created_ms: u64,
    #[serde(default)]
    cors_rules: Option<Vec<CORSRule>>,
}

impl Bucket {
    /// Creates the directories and the file. One that exists already is opened.
    pub(super) fn create(directory: &Path, name: &str) -> io::Result<Self> {
        for sub in ["objects", "uploads"] {
            fs::create_dir_all(directory.join(sub))?;
        }
        if !directory.join(FILE).exists() {
            let file = BucketFile {
                created_ms: now_ms(),
                cors_rules: None,
            };
            write_json(directory, FILE, &file)?;
        }
        Self::open(directory, name)
    }

    pub(super) fn open(directory: &Path, name: &str) -> io::Result<Self> {
        let file: BucketFile = serde_json::from_slice(&fs::read(directory.join(FILE))?)?;
        Ok(Self {
            name: name.to_owned(),
            created_ms: file.created_ms,
            directory: directory.to_owned(),
            cors: RwLock::new(file.cors_rules),
        })
    }

    /// Its own CORS rules, if any.
    pub(crate) fn cors(&self) -> Option<Vec<CORSRule>> {
        let rules = self.cors.read().unwrap_or_else(PoisonError::into_inner);
        rules.clone()
    }

    pub(crate) fn set_cors(&self, rules: Option<Vec<CORSRule>>) -> S3Result<()> {
        let mut held = self.cors.write().unwrap_or_else(PoisonError::into_inner);
        let file = BucketFile {
            created_ms: self.created_ms,
            cors_rules: rules,
        };
        write_json(&self.directory, FILE, &file).internal()?;
        *held = file.cors_rules;
        Ok(())
    }

    /// Opens an object, or fails with `NoSuchKey`.
    pub(crate) fn get(&self, key: &str) -> S3Result<Record> {
        Record::open(&self.object(key))
            .internal()?
            .ok_or_else(|| s3_error!(NoSuchKey, "The key does not exist"))
    }

    /// Metadata of every object whose key starts with `prefix`, in key order.
    pub(crate) fn list(&self, prefix: &str) -> S3Result<BTreeMap<String, ObjectMetadata>> {
        let collect = || -> io::Result<BTreeMap<String, ObjectMetadata>> {
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
        collect().internal()
    }

    fn objects(&self) -> PathBuf {
        self.directory.join("objects")
    }

    pub(super) fn uploads(&self) -> PathBuf {
        self.directory.join("uploads")
    }

    /// Where the object `key` is. Keys are hashed, so that none can name another path.
    pub(super) fn object(&self, key: &str) -> PathBuf {
        let name = hex(Sha256::checksum(key.as_bytes()).as_ref());
        self.objects().join(&name[..2]).join(name)
    }

    /// Removes the directories; fails with `DirectoryNotEmpty` if an object is left.
    pub(super) fn remove(&self) -> io::Result<()> {
        for shard in fs::read_dir(self.objects())? {
            fs::remove_dir(shard?.path())?;
        }
        fs::remove_dir(self.objects())?;
        fs::remove_dir_all(&self.directory)?;
        sync_directory(self.directory.parent().unwrap_or(&self.directory))
    }
}
