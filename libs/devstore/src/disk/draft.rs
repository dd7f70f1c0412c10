//! Content that is being received: a temporary file with its digests.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt as _;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use tokio::sync::mpsc;

use super::checksums::{Checksums, hasher};
use super::record::{Headers, ObjectMetadata, append_meta};
use super::{Internal as _, now_ms, sync_directory};

/// Chunks between the socket and the disk. With the chunk size this bounds the memory.
const CHUNKS_IN_FLIGHT: usize = 4;
const COPY_BUFFER_BYTES: usize = 256 * 1024;

/// What the client promised about the content, before or after sending it.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeclaredContent {
    pub(crate) length: Option<u64>,
    pub(crate) md5: Option<String>,
    pub(crate) checksums: Checksums,
}

/// A temporary file that removes itself unless it is committed.
pub(crate) struct Draft {
    file: File,
    path: PathBuf,
    committed: bool,
    size: u64,
    md5: Md5,
    hasher: ChecksumHasher,
}

impl Draft {
    /// A draft in `directory` that computes MD5 and the named algorithms (`SHA256`, ...).
    pub(crate) fn create(directory: &Path, algorithms: &[String]) -> io::Result<Self> {
        let path = directory.join(uuid::Uuid::new_v4().simple().to_string());
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(Self {
            file,
            path,
            committed: false,
            size: 0,
            md5: Md5::new(),
            hasher: hasher(algorithms),
        })
    }

    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
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

    /// Compares the content with what was promised, and adds its metadata.
    pub(crate) fn seal(
        self,
        key: &str,
        headers: Headers,
        promised: &DeclaredContent,
    ) -> S3Result<SealedDraft> {
        let mut draft = self;
        let md5 = std::mem::take(&mut draft.md5).finalize();
        let checksums = Checksums::from(std::mem::take(&mut draft.hasher).finalize());
        if promised.length.is_some_and(|length| length != draft.size) {
            return Err(s3_error!(
                IncompleteBody,
                "The length differs from the announced one"
            ));
        }
        check_md5(promised.md5.as_deref(), md5.as_ref())?;
        if let Some(name) = promised.checksums.mismatch(&checksums) {
            return Err(s3_error!(
                BadDigest,
                "The {} does not match the content",
                name
            ));
        }
        let meta = ObjectMetadata {
            key: key.to_owned(),
            size: draft.size,
            etag: hex(md5.as_ref()),
            modified_ms: now_ms(),
            headers,
            checksums,
        };
        Ok(SealedDraft { draft, meta })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.committed {
            // If this fails, the file is removed at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A complete draft that has no name yet.
pub(crate) struct SealedDraft {
    draft: Draft,
    pub(crate) meta: ObjectMetadata,
}

impl SealedDraft {
    /// Makes content and metadata durable as `target`, replacing an existing file.
    pub(super) fn commit(mut self, target: &Path) -> io::Result<ObjectMetadata> {
        append_meta(&mut self.draft.file, &self.meta)?;
        self.draft.file.sync_all()?;
        fs::rename(&self.draft.path, target)?;
        self.draft.committed = true;
        sync_directory(target.parent().unwrap_or(target))?;
        Ok(self.meta)
    }
}

/// Streams a request body into `draft` with bounded memory.
pub(crate) async fn receive(mut draft: Draft, body: Option<StreamingBlob>) -> S3Result<Draft> {
    let (sender, mut chunks) = mpsc::channel::<Bytes>(CHUNKS_IN_FLIGHT);
    // One thread hashes and writes while this task reads the socket. When the client
    // disconnects, this future is dropped, the channel closes and the draft removes itself.
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
                    // The channel is closed if the writer has failed; its error follows below.
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
        None => written.internal(),
    }
}

fn body_error(error: s3s::StdError) -> S3Error {
    // The types are private to s3s; their texts are not.
    let text = error.to_string();
    if text.contains("Sha256Mismatch") {
        let code = S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into());
        let mut error = S3Error::with_source(code, error);
        error.set_status_code(http::StatusCode::BAD_REQUEST);
        error.set_message("The x-amz-content-sha256 header does not match the content");
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
    match STANDARD.decode(promised) {
        Ok(digest) if digest.len() == 16 && digest == actual => Ok(()),
        Ok(digest) if digest.len() == 16 => Err(s3_error!(
            BadDigest,
            "The Content-MD5 does not match the content"
        )),
        _ => Err(s3_error!(
            InvalidDigest,
            "The Content-MD5 is not an MD5 digest"
        )),
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
