//! Content on its way in: a temporary file with its digests.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt as _;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use tokio::sync::mpsc;

use super::record::{Checksums, Headers, Meta, append_meta};
use super::{now_ms, sync_directory};

/// Chunks between the socket and the disk; together with the chunk size this bounds memory.
const CHUNKS_IN_FLIGHT: usize = 4;
const COPY_BUFFER_BYTES: usize = 256 * 1024;

/// What the client said about the content before or after sending it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Promised {
    pub(crate) length: Option<u64>,
    pub(crate) md5: Option<String>,
    pub(crate) checksums: Checksums,
}

/// A temporary file that removes itself unless it is committed.
pub(crate) struct Draft {
    file: File,
    path: PathBuf,
    kept: bool,
    size: u64,
    md5: Md5,
    hasher: ChecksumHasher,
}

impl Draft {
    /// A draft in `directory` that computes MD5 and the named algorithms (`SHA256`, ...).
    pub(crate) fn create(directory: &Path, algorithms: &[String]) -> io::Result<Self> {
        let path = directory.join(uuid::Uuid::new_v4().simple().to_string());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        let wants = |name: &str| {
            algorithms
                .iter()
                .any(|entry| entry.eq_ignore_ascii_case(name))
        };
        let hasher = ChecksumHasher {
            crc32: wants("CRC32").then(Crc32::new),
            crc32c: wants("CRC32C").then(Crc32c::new),
            sha1: wants("SHA1").then(Sha1::new),
            sha256: wants("SHA256").then(Sha256::new),
            crc64nvme: wants("CRC64NVME").then(Crc64Nvme::new),
        };
        Ok(Self {
            file,
            path,
            kept: false,
            size: 0,
            md5: Md5::new(),
            hasher,
        })
    }

    pub(crate) fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.md5.update(chunk);
        self.hasher.update(chunk);
        self.size += chunk.len() as u64;
        self.file.write_all(chunk)
    }

    /// Appends the first `size` bytes of `source`.
    pub(crate) fn copy_from(&mut self, source: &File, size: u64) -> io::Result<()> {
        let mut buffer = vec![0; COPY_BUFFER_BYTES];
        let mut source = source.take(size);
        loop {
            let count = source.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            self.write(&buffer[..count])?;
        }
    }

    /// Compares the content with what was promised, then closes it with its metadata.
    pub(crate) fn seal(self, key: &str, headers: Headers, promised: &Promised) -> S3Result<Sealed> {
        let mut draft = self;
        let md5 = std::mem::take(&mut draft.md5).finalize();
        let checksums = Checksums::from(std::mem::take(&mut draft.hasher).finalize());
        if promised.length.is_some_and(|length| length != draft.size) {
            return Err(s3_error!(
                IncompleteBody,
                "The content is not as long as the request says"
            ));
        }
        check_md5(promised.md5.as_deref(), md5.as_ref())?;
        check_sums(&promised.checksums, &checksums)?;
        let meta = Meta {
            key: key.to_owned(),
            size: draft.size,
            etag: hex(md5.as_ref()),
            modified_ms: now_ms(),
            headers,
            checksums,
        };
        Ok(Sealed { draft, meta })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            // What stays behind after a failure here is removed at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A checked draft that waits for its name.
pub(crate) struct Sealed {
    draft: Draft,
    pub(crate) meta: Meta,
}

impl Sealed {
    /// Makes content and metadata durable under `target`, replacing what is there.
    pub(super) fn commit(mut self, target: &Path) -> io::Result<Meta> {
        append_meta(&mut self.draft.file, &self.meta)?;
        self.draft.file.sync_all()?;
        fs::rename(&self.draft.path, target)?;
        self.draft.kept = true;
        sync_directory(target.parent().unwrap_or(target))?;
        Ok(self.meta)
    }
}

/// Streams a request body into `draft` with bounded memory.
pub(crate) async fn receive(mut draft: Draft, body: Option<StreamingBlob>) -> S3Result<Draft> {
    let (sender, mut chunks) = mpsc::channel::<Bytes>(CHUNKS_IN_FLIGHT);
    // One thread hashes and writes while this task reads the socket. When the client goes
    // away, this future is dropped, the channel closes and the draft removes itself.
    let writer = tokio::task::spawn_blocking(move || {
        while let Some(chunk) = chunks.blocking_recv() {
            draft.write(&chunk)?;
        }
        io::Result::Ok(draft)
    });
    let mut failure = None;
    if let Some(mut body) = body {
        while let Some(chunk) = body.next().await {
            match chunk {
                Ok(chunk) => {
                    // A closed channel means that the writer failed; it says why below.
                    if sender.send(chunk).await.is_err() {
                        break;
                    }
                }
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
    }
    drop(sender);
    let written = writer.await.map_err(S3Error::internal_error)?;
    match failure {
        Some(error) => Err(body_error(error)),
        None => written.map_err(S3Error::internal_error),
    }
}

fn body_error(error: s3s::StdError) -> S3Error {
    // The types are private to s3s; their texts are not.
    let text = error.to_string();
    if text.contains("Sha256Mismatch") {
        let mut error = S3Error::with_source(
            S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()),
            error,
        );
        error.set_status_code(http::StatusCode::BAD_REQUEST);
        error.set_message(
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        );
        return error;
    }
    let code = if text.contains("SignatureMismatch") {
        S3ErrorCode::SignatureDoesNotMatch
    } else {
        S3ErrorCode::IncompleteBody
    };
    S3Error::with_source(code, error)
}

fn check_md5(promised: Option<&str>, actual: &[u8]) -> S3Result<()> {
    let Some(promised) = promised else {
        return Ok(());
    };
    let promised = STANDARD
        .decode(promised)
        .ok()
        .filter(|digest| digest.len() == 16);
    match promised {
        None => Err(s3_error!(
            InvalidDigest,
            "The Content-MD5 you specified is not valid."
        )),
        Some(digest) if digest != actual => Err(s3_error!(
            BadDigest,
            "The Content-MD5 you specified did not match what we received."
        )),
        Some(_) => Ok(()),
    }
}

fn check_sums(promised: &Checksums, actual: &Checksums) -> S3Result<()> {
    let pairs = [
        ("CRC32", &promised.crc32, &actual.crc32),
        ("CRC32C", &promised.crc32c, &actual.crc32c),
        ("CRC64NVME", &promised.crc64nvme, &actual.crc64nvme),
        ("SHA1", &promised.sha1, &actual.sha1),
        ("SHA256", &promised.sha256, &actual.sha256),
    ];
    for (name, promised, actual) in pairs {
        if promised.is_some() && promised != actual {
            return Err(s3_error!(
                BadDigest,
                "The {} you specified did not match the calculated checksum.",
                name
            ));
        }
    }
    Ok(())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
