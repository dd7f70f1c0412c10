//! Multipart uploads: parts are files of their own until they become one object.

use std::fs;
use std::io;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use s3s::{S3Error, S3Result, s3_error};
use serde::{Deserialize, Serialize};

use super::draft::{Promised, Sealed, hex};
use super::record::{Checksums, Headers, Meta, Record};
use super::store::{Store, Write};
use super::{Bucket, now_ms, optional, sync_directory};

/// All parts but the last have at least this size.
const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;

/// An upload that was created and neither completed nor aborted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Upload {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) created_ms: u64,
    pub(crate) headers: Headers,
    /// `SHA256` and its like, where the client chose one.
    pub(crate) algorithm: Option<String>,
    /// The digest of the object is taken over its content, not over the parts' digests.
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
    /// The start of an upload of `key`, not yet on disk.
    pub(crate) fn begin(key: String, headers: Headers, algorithm: Option<String>) -> Self {
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
        let create = || -> io::Result<()> {
            fs::create_dir(&directory)?;
            let path = directory.join("upload.json");
            fs::write(&path, serde_json::to_vec(upload)?)?;
            fs::File::open(&path)?.sync_all()?;
            sync_directory(&directory)?;
            sync_directory(&self.uploads())
        };
        create().map_err(S3Error::internal_error)
    }

    /// The upload `id` of `key`, or `NoSuchUpload`.
    pub(crate) fn upload(&self, id: &str, key: &str) -> S3Result<Upload> {
        let missing = || {
            s3_error!(
                NoSuchUpload,
                "The specified multipart upload does not exist."
            )
        };
        // The id becomes a path, so nothing but the shape that this server gives out is let through.
        if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(missing());
        }
        let path = self.uploads().join(id).join("upload.json");
        let json = optional(fs::read(path))
            .map_err(S3Error::internal_error)?
            .ok_or_else(missing)?;
        let upload: Upload = serde_json::from_slice(&json).map_err(S3Error::internal_error)?;
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
                if let Some(json) = optional(fs::read(entry?.path().join("upload.json")))? {
                    found.push(serde_json::from_slice(&json)?);
                }
            }
            Ok(found)
        };
        let mut found = collect().map_err(S3Error::internal_error)?;
        found.sort_by(|a: &Upload, b| {
            (&a.key, a.created_ms, &a.id).cmp(&(&b.key, b.created_ms, &b.id))
        });
        Ok(found)
    }

    /// The parts that have arrived, by number.
    pub(crate) fn list_parts(&self, upload: &Upload) -> S3Result<Vec<(i32, Meta)>> {
        let collect = || -> io::Result<Vec<(i32, Meta)>> {
            let mut found = Vec::new();
            for entry in fs::read_dir(self.uploads().join(&upload.id))? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let Some(number) = name.strip_prefix("part-") else {
                    continue;
                };
                let Ok(number) = number.parse() else { continue };
                if let Some(record) = Record::open(&entry.path())? {
                    found.push((number, record.meta));
                }
            }
            Ok(found)
        };
        let mut found = collect().map_err(S3Error::internal_error)?;
        found.sort_by_key(|(number, _)| *number);
        Ok(found)
    }
}

impl Store {
    pub(crate) fn put_part(
        &self,
        bucket: &Bucket,
        upload: &Upload,
        number: i32,
        part: Sealed,
    ) -> S3Result<Meta> {
        let _guard = self.lock_upload(&upload.id);
        // It may have been completed or aborted while the part was on its way.
        bucket.upload(&upload.id, &upload.key)?;
        part.commit(&part_path(bucket, upload, number))
            .map_err(S3Error::internal_error)
    }

    pub(crate) fn abort_upload(&self, bucket: &Bucket, upload: &Upload) -> S3Result<()> {
        let _guard = self.lock_upload(&upload.id);
        let directory = bucket.uploads().join(&upload.id);
        optional(fs::remove_dir_all(directory)).map_err(S3Error::internal_error)?;
        sync_directory(&bucket.uploads()).map_err(S3Error::internal_error)
    }

    /// Joins the named parts into the object, by the rules of S3 and the equal sizes of R2.
    pub(crate) fn complete_upload(
        &self,
        write: &Write<'_>,
        upload: &Upload,
        parts: &[PartRef],
        promised: &Promised,
    ) -> S3Result<Meta> {
        let guard = self.lock_upload(&upload.id);
        write.bucket.upload(&upload.id, &upload.key)?;
        let records = open_parts(write.bucket, upload, parts)?;
        let algorithms: Vec<String> = upload
            .algorithm
            .iter()
            .filter(|_| upload.full_object)
            .cloned()
            .collect();
        let mut draft = self.draft(&algorithms)?;
        for record in &records {
            draft
                .copy_from(&record.file, record.meta.size)
                .map_err(S3Error::internal_error)?;
        }
        let mut promised = promised.clone();
        if !upload.full_object {
            // A digest over digests says nothing about the content as a whole.
            promised.checksums = Checksums::default();
        }
        let mut sealed = draft.seal(&upload.key, upload.headers.clone(), &promised)?;
        sealed.meta.etag = multipart_etag(&records);
        if upload.full_object {
            sealed.meta.checksums.kind = Some("FULL_OBJECT".to_owned());
        } else if let Some(algorithm) = &upload.algorithm {
            sealed.meta.checksums = composite(algorithm, &records);
        }
        let meta = self.put(write, sealed)?;
        drop(guard);
        // A crash before this line leaves the upload; completing it again gives the same object.
        self.abort_upload(write.bucket, upload)?;
        Ok(meta)
    }
}

fn part_path(bucket: &Bucket, upload: &Upload, number: i32) -> PathBuf {
    bucket
        .uploads()
        .join(&upload.id)
        .join(format!("part-{number:05}"))
}

fn open_parts(bucket: &Bucket, upload: &Upload, parts: &[PartRef]) -> S3Result<Vec<Record>> {
    if parts.is_empty() {
        return Err(s3_error!(
            MalformedXML,
            "You must specify at least one part"
        ));
    }
    if !parts.is_sorted_by(|a, b| a.number < b.number) {
        return Err(s3_error!(
            InvalidPartOrder,
            "The list of parts was not in ascending order."
        ));
    }
    let mut records: Vec<Record> = Vec::with_capacity(parts.len());
    for part in parts {
        let record = Record::open(&part_path(bucket, upload, part.number))
            .map_err(S3Error::internal_error)?
            .filter(|record| is_named(part, &record.meta));
        let Some(record) = record else {
            return Err(s3_error!(
                InvalidPart,
                "One or more of the specified parts could not be found."
            ));
        };
        records.push(record);
    }
    check_sizes(&records)?;
    Ok(records)
}

fn is_named(part: &PartRef, meta: &Meta) -> bool {
    let same = |named: &Option<String>, kept: &Option<String>| named.is_none() || named == kept;
    part.etag.as_deref() == Some(meta.etag.as_str())
        && same(&part.checksums.crc32, &meta.checksums.crc32)
        && same(&part.checksums.crc32c, &meta.checksums.crc32c)
        && same(&part.checksums.crc64nvme, &meta.checksums.crc64nvme)
        && same(&part.checksums.sha1, &meta.checksums.sha1)
        && same(&part.checksums.sha256, &meta.checksums.sha256)
}

fn check_sizes(records: &[Record]) -> S3Result<()> {
    let Some((last, others)) = records.split_last() else {
        return Ok(());
    };
    let Some(first) = others.first() else {
        return Ok(());
    };
    if others
        .iter()
        .any(|record| record.meta.size < MIN_PART_BYTES)
    {
        return Err(s3_error!(
            EntityTooSmall,
            "Your proposed upload is smaller than the minimum allowed object size."
        ));
    }
    let equal = others
        .iter()
        .all(|record| record.meta.size == first.meta.size);
    if !equal || last.meta.size > first.meta.size {
        // R2 refuses this, S3 does not: what works here has to work there.
        return Err(s3_error!(
            InvalidPart,
            "All non-trailing parts must have the same length."
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

/// The digest over the parts' digests, as S3 has it for `COMPOSITE`.
fn composite(algorithm: &str, records: &[Record]) -> Checksums {
    let is = |name: &str| algorithm.eq_ignore_ascii_case(name);
    let mut hasher = ChecksumHasher {
        crc32: is("CRC32").then(Crc32::new),
        crc32c: is("CRC32C").then(Crc32c::new),
        sha1: is("SHA1").then(Sha1::new),
        sha256: is("SHA256").then(Sha256::new),
        crc64nvme: is("CRC64NVME").then(Crc64Nvme::new),
    };
    for record in records {
        // A part without the digest makes the whole meaningless, so none is kept.
        let Some(digest) = record.meta.checksums.get(algorithm) else {
            return Checksums::default();
        };
        hasher.update(&STANDARD.decode(digest).unwrap_or_default());
    }
    let suffix = |sum: Option<String>| sum.map(|sum| format!("{sum}-{}", records.len()));
    let sums = Checksums::from(hasher.finalize());
    Checksums {
        crc32: suffix(sums.crc32),
        crc32c: suffix(sums.crc32c),
        crc64nvme: suffix(sums.crc64nvme),
        sha1: suffix(sums.sha1),
        sha256: suffix(sums.sha256),
        kind: Some("COMPOSITE".to_owned()),
    }
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
