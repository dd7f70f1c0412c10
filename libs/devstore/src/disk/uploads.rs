//! Multipart uploads: each part is a file until all become one object.
//!
//! ```text
//! created ──> parts arrive, in any order, any number replaced ──┬─ aborted ──> removed
//!                                                               └─ completed ─> object, removed
//! ```
//!
//! One lock per upload orders parts, completion and abortion. Completion renames the
//! object before it removes the upload: after a crash between the two, completing again
//! yields the same object.

use std::fs;
use std::io;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use s3s::crypto::{Checksum as _, Md5};
use s3s::{S3Result, s3_error};
use serde::{Deserialize, Serialize};

use super::bucket::Bucket;
use super::checksums::{Checksums, hasher};
use super::conditions::WriteConditions;
use super::draft::{DeclaredContent, SealedDraft, hex};
use super::record::{Headers, ObjectMetadata, Record};
use super::store::Store;
use super::{Internal as _, now_ms, optional, sync_directory, write_json};

const FILE: &str = "upload.json";
/// All parts but the last have at least this size.
const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;

/// An upload that was created and neither completed nor aborted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Upload {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) created_ms: u64,
    pub(crate) headers: Headers,
    /// `SHA256` or another, if the client chose one.
    pub(crate) algorithm: Option<String>,
    /// The object's digest covers its content, not the digests of its parts.
    pub(crate) full_object: bool,
}

/// A part as the client names it when it completes the upload.
#[derive(Debug, Clone)]
pub(crate) struct PartRef {
    pub(crate) number: i32,
    pub(crate) etag: Option<String>,
    pub(crate) checksums: Checksums,
}

impl Upload {
    /// A new upload of `key`, not yet on disk.
    pub(crate) fn new(key: String, headers: Headers, algorithm: Option<String>) -> Self {
        let id = uuid::Uuid::new_v4().simple().to_string();
        Self {
            id,
            key,
            created_ms: now_ms(),
            headers,
            algorithm,
            full_object: false,
        }
    }
}

impl Bucket {
    pub(crate) fn create_upload(&self, upload: &Upload) -> S3Result<()> {
        let directory = self.uploads().join(&upload.id);
        fs::create_dir(&directory).internal()?;
        write_json(&directory, FILE, upload).internal()?;
        sync_directory(&self.uploads()).internal()
    }

    /// The upload `id` of `key`, or `NoSuchUpload`.
    pub(crate) fn upload(&self, id: &str, key: &str) -> S3Result<Upload> {
        let missing = || s3_error!(NoSuchUpload, "The multipart upload does not exist");
        // The id becomes a path: only the form that this server issues is accepted.
        if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(missing());
        }
        let path = self.uploads().join(id).join(FILE);
        let json = optional(fs::read(path)).internal()?.ok_or_else(missing)?;
        let upload: Upload = serde_json::from_slice(&json)
            .map_err(io::Error::from)
            .internal()?;
        if upload.key == key {
            Ok(upload)
        } else {
            Err(missing())
        }
    }

    pub(crate) fn list_uploads(&self) -> S3Result<Vec<Upload>> {
        let collect = || -> io::Result<Vec<Upload>> {
            let mut found = Vec::new();
            for entry in fs::read_dir(self.uploads())? {
                if let Some(json) = optional(fs::read(entry?.path().join(FILE)))? {
                    found.push(serde_json::from_slice(&json)?);
                }
            }
            Ok(found)
        };
        let mut found = collect().internal()?;
        found.sort_by(|a: &Upload, b| {
            (&a.key, a.created_ms, &a.id).cmp(&(&b.key, b.created_ms, &b.id))
        });
        Ok(found)
    }

    /// The parts that have arrived, by number.
    pub(crate) fn list_parts(&self, upload: &Upload) -> S3Result<Vec<(i32, ObjectMetadata)>> {
        let collect = || -> io::Result<Vec<(i32, ObjectMetadata)>> {
            let mut found = Vec::new();
            for entry in fs::read_dir(self.uploads().join(&upload.id))? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let number = name.strip_prefix("part-").and_then(|it| it.parse().ok());
                let Some(number) = number else { continue };
                if let Some(record) = Record::open(&entry.path())? {
                    found.push((number, record.meta));
                }
            }
            Ok(found)
        };
        let mut found = collect().internal()?;
        found.sort_by_key(|(number, _)| *number);
        Ok(found)
    }

    fn part(&self, upload: &Upload, number: i32) -> PathBuf {
        let name = format!("part-{number:05}");
        self.uploads().join(&upload.id).join(name)
    }
}

impl Store {
    pub(crate) fn put_part(
        &self,
        bucket: &Bucket,
        upload: &Upload,
        number: i32,
        part: SealedDraft,
    ) -> S3Result<ObjectMetadata> {
        let _guard = self.lock_upload(&upload.id);
        // It may have been completed or aborted while the part was being received.
        bucket.upload(&upload.id, &upload.key)?;
        part.commit(&bucket.part(upload, number)).internal()
    }

    pub(crate) fn abort_upload(&self, bucket: &Bucket, upload: &Upload) -> S3Result<()> {
        let _guard = self.lock_upload(&upload.id);
        let directory = bucket.uploads().join(&upload.id);
        optional(fs::remove_dir_all(directory)).internal()?;
        sync_directory(&bucket.uploads()).internal()
    }

    /// Joins the named parts into the object, by the rules of S3 and the equal sizes of R2.
    pub(crate) fn complete_upload(
        &self,
        bucket: &Bucket,
        conditions: &WriteConditions,
        upload: &Upload,
        parts: &[PartRef],
        mut promised: DeclaredContent,
    ) -> S3Result<ObjectMetadata> {
        let guard = self.lock_upload(&upload.id);
        bucket.upload(&upload.id, &upload.key)?;
        let records = open_parts(bucket, upload, parts)?;
        let whole = upload.algorithm.iter().filter(|_| upload.full_object);
        let mut draft = self.draft(&whole.cloned().collect::<Vec<_>>())?;
        for record in &records {
            draft.copy_from(&record.file, record.meta.size).internal()?;
        }
        if !upload.full_object {
            // A digest of digests cannot be compared with the content.
            promised.checksums = Checksums::default();
        }
        let mut sealed = draft.seal(&upload.key, upload.headers.clone(), &promised)?;
        sealed.meta.etag = multipart_etag(&records);
        if upload.full_object {
            sealed.meta.checksums.kind = Some("FULL_OBJECT".to_owned());
        } else if let Some(algorithm) = &upload.algorithm {
            sealed.meta.checksums = composite(algorithm, &records);
        }
        let meta = self.put(bucket, conditions, sealed)?;
        drop(guard);
        self.abort_upload(bucket, upload)?;
        Ok(meta)
    }
}

fn open_parts(bucket: &Bucket, upload: &Upload, parts: &[PartRef]) -> S3Result<Vec<Record>> {
    if parts.is_empty() {
        return Err(s3_error!(MalformedXML, "At least one part is required"));
    }
    if !parts.is_sorted_by(|a, b| a.number < b.number) {
        return Err(s3_error!(
            InvalidPartOrder,
            "The parts are not in ascending order"
        ));
    }
    let mut records: Vec<Record> = Vec::with_capacity(parts.len());
    for part in parts {
        let record = Record::open(&bucket.part(upload, part.number)).internal()?;
        let record = record
            .filter(|record| matches(part, &record.meta))
            .ok_or_else(|| s3_error!(InvalidPart, "A part does not exist or differs"))?;
        records.push(record);
    }
    check_sizes(&records)?;
    Ok(records)
}

fn matches(part: &PartRef, meta: &ObjectMetadata) -> bool {
    part.etag.as_deref() == Some(meta.etag.as_str())
        && part.checksums.mismatch(&meta.checksums).is_none()
}

fn check_sizes(records: &[Record]) -> S3Result<()> {
    let sizes: Vec<u64> = records.iter().map(|record| record.meta.size).collect();
    let Some((last, [first, others @ ..])) = sizes.split_last() else {
        return Ok(());
    };
    if sizes[..sizes.len() - 1]
        .iter()
        .any(|size| *size < MIN_PART_BYTES)
    {
        return Err(s3_error!(
            EntityTooSmall,
            "Only the last part may be smaller than 5 MiB"
        ));
    }
    if others.iter().any(|size| size != first) || last > first {
        // R2 refuses this, S3 does not: what works here has to work there.
        return Err(s3_error!(
            InvalidPart,
            "All parts but the last must have the same size"
        ));
    }
    Ok(())
}

/// MD5 over the parts' MD5 digests, then the number of parts.
fn multipart_etag(records: &[Record]) -> String {
    let mut md5 = Md5::new();
    for record in records {
        md5.update(&unhex(&record.meta.etag));
    }
    format!("{}-{}", hex(md5.finalize().as_ref()), records.len())
}

/// The digest over the parts' digests, which S3 calls `COMPOSITE`.
fn composite(algorithm: &str, records: &[Record]) -> Checksums {
    let mut hasher = hasher(&[algorithm.to_owned()]);
    for record in records {
        // One part without the digest makes the whole meaningless, so none is kept.
        let Some(digest) = record.meta.checksums.get(algorithm) else {
            return Checksums::default();
        };
        hasher.update(&STANDARD.decode(digest).unwrap_or_default());
    }
    let mut sums = Checksums::from(hasher.finalize());
    for (_, digest) in sums.fields_mut() {
        *digest = digest.take().map(|it| format!("{it}-{}", records.len()));
    }
    sums.kind = Some("COMPOSITE".to_owned());
    sums
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
