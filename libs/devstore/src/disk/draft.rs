//! Content that is being received: a temporary file with its digests.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use s3s::dto::{Checksum, StreamingBlob};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use tempfile::NamedTempFile;

use super::object::{CHECKSUMS, Headers, Metadata, append_metadata, now};
use super::{Internal as _, blocking, sync_directory};

const COPY_BUFFER_BYTES: usize = 256 * 1024;

/// What the client promised about the content, before or after sending it.
#[derive(Default)]
pub(crate) struct Promised {
    pub(crate) length: u64,
    pub(crate) md5: Option<String>,
    pub(crate) checksums: Headers,
}

/// A temporary file that removes itself unless it is committed. If that fails, it is
/// removed at the next start.
pub(crate) struct Draft {
    file: NamedTempFile,
    size: u64,
    md5: Md5,
    hasher: ChecksumHasher,
}

impl Draft {
    /// A draft in `directory` that computes MD5 and these checksums.
    pub(super) fn create<'a>(
        directory: &Path,
        checksums: impl IntoIterator<Item = &'a String>,
    ) -> io::Result<Self> {
        let wanted: Vec<&String> = checksums.into_iter().collect();
        let [crc32, crc32c, crc64nvme, sha1, sha256] =
            CHECKSUMS.map(|name| wanted.iter().any(|it| *it == name));
        Ok(Self {
            file: NamedTempFile::new_in(directory)?,
            size: 0,
            md5: Md5::new(),
            hasher: ChecksumHasher {
                crc32: crc32.then(Crc32::new),
                crc32c: crc32c.then(Crc32c::new),
                crc64nvme: crc64nvme.then(Crc64Nvme::new),
                sha1: sha1.then(Sha1::new),
                sha256: sha256.then(Sha256::new),
            },
        })
    }

    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.md5.update(chunk);
        self.hasher.update(chunk);
        self.size += chunk.len() as u64;
        self.file.write_all(chunk)
    }

    /// Appends a request body, one chunk at a time. When the client disconnects, this
    /// future is dropped and the draft removes itself.
    pub(crate) async fn receive(self, body: Option<StreamingBlob>) -> S3Result<Self> {
        let mut draft = self;
        let mut chunks = futures_util::stream::iter(body).flatten();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(body_error)?;
            draft = blocking(move || {
                draft.write(&chunk).internal()?;
                Ok(draft)
            })
            .await?;
        }
        Ok(draft)
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

    /// Compares the content with what was promised, adds its metadata, and makes both durable.
    pub(crate) fn seal(
        self,
        key: String,
        headers: Headers,
        promised: &Promised,
    ) -> S3Result<SealedDraft> {
        let mut file = self.file;
        let md5 = self.md5.finalize();
        let checksums = named(self.hasher.finalize());
        if promised.length != self.size {
            return Err(s3_error!(
                IncompleteBody,
                "The length differs from the announced one"
            ));
        }
        check_md5(promised.md5.as_deref(), md5.as_ref())?;
        let mut digests = promised.checksums.iter();
        if let Some((name, _)) =
            digests.find(|(name, digest)| checksums.get(*name) != Some(*digest))
        {
            return Err(s3_error!(
                BadDigest,
                "The {} does not match the content",
                name
            ));
        }
        let meta = Metadata {
            key,
            size: self.size,
            etag: hex::encode(md5.as_ref()),
            modified: now(),
            headers,
            checksums,
        };
        append_metadata(file.as_file_mut(), &meta).internal()?;
        file.as_file().sync_all().internal()?;
        Ok(SealedDraft { file, meta })
    }
}

/// A complete draft that has no name yet.
pub(crate) struct SealedDraft {
    file: NamedTempFile,
    pub(super) meta: Metadata,
}

impl SealedDraft {
    /// Names it `target`, replacing an existing file.
    pub(super) fn commit(self, target: &Path) -> io::Result<Metadata> {
        self.file.persist(target)?;
        sync_directory(target.parent().unwrap_or(target))?;
        Ok(self.meta)
    }
}

fn named(sums: Checksum) -> Headers {
    let digests = [
        sums.checksum_crc32,
        sums.checksum_crc32c,
        sums.checksum_crc64nvme,
        sums.checksum_sha1,
        sums.checksum_sha256,
    ];
    let named = CHECKSUMS.into_iter().zip(digests);
    named
        .filter_map(|(name, digest)| Some((name.to_owned(), digest?)))
        .collect()
}

fn body_error(error: s3s::StdError) -> S3Error {
    // The types are private to s3s; their texts are not.
    let text = error.to_string();
    let code = if text.contains("Sha256Mismatch") {
        S3ErrorCode::BadDigest
    } else if text.contains("SignatureMismatch") {
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
        Ok(digest) if digest == actual => Ok(()),
        Ok(digest) if digest.len() == actual.len() => Err(s3_error!(
            BadDigest,
            "The Content-MD5 does not match the content"
        )),
        _ => Err(s3_error!(
            InvalidDigest,
            "The Content-MD5 is not an MD5 digest"
        )),
    }
}
