use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use s3s::crypto::{Checksum as _, Sha256};
use s3s::{S3Result, s3_error};
use serde::{Deserialize, Serialize};

use super::record::{Meta, Record};
use super::{Internal as _, now_ms, write_json};

const FILE: &str = "bucket.json";

/// One bucket.
pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) created_ms: u64,
    directory: PathBuf,
}

/// What a bucket has besides objects.
#[derive(Serialize, Deserialize)]
struct BucketFile {
    created_ms: u64,
}

impl Bucket {
    /// Creates the directories and the file. One that exists already is opened.
    pub(super) fn create(directory: &Path, name: &str) -> io::Result<Self> {
        fs::create_dir_all(directory.join("objects"))?;
        if !directory.join(FILE).exists() {
            let file = BucketFile {
                created_ms: now_ms(),
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
        })
    }

    /// Opens an object, or fails with `NoSuchKey`.
    pub(crate) fn get(&self, key: &str) -> S3Result<Record> {
        Record::open(&self.object(key))
            .internal()?
            .ok_or_else(|| s3_error!(NoSuchKey, "The key does not exist"))
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
        collect().internal()
    }

    fn objects(&self) -> PathBuf {
        self.directory.join("objects")
    }

    /// Where the object `key` is. Keys are hashed, so that none can name another path.
    pub(super) fn object(&self, key: &str) -> PathBuf {
        let name = hex::encode(Sha256::checksum(key.as_bytes()).as_ref());
        self.objects().join(&name[..2]).join(name)
    }
}
