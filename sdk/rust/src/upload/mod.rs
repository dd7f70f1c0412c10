//! Uploads a file: presign, PUT to the object store, complete.
//!
//! ```text
//! presign ──> PUT ──┬─ stored ──> complete ──> asset
//!    ^              ├─ failed ──> the asset is deleted, error
//!    └──────────────┴─ the signed URL has expired (at most three times)
//! ```
//!
//! A PUT creates the object only if there is none. When its response is lost, the next attempt
//! is refused with 412, which means that the object is stored; completion verifies it.

mod content_type;
mod send;
mod source;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::client::Quartet;
use crate::error::Error;
use crate::generated::api::types::{Asset, PresignRequest, Presigned, Visibility};
use send::Sent;
pub use source::Source;

/// How many signed URLs to request: one may expire before a slow upload ends.
const SIGNED_URLS: u32 = 3;

/// A file to upload.
///
/// ```no_run
/// # async fn run(quartet: quartet_client::Quartet) -> Result<(), quartet_client::Error> {
/// use quartet_client::Upload;
///
/// let upload = Upload::path("holiday.png").await?.public().on_progress(|progress| {
///     println!("{} of {} bytes", progress.sent_bytes, progress.total_bytes);
/// });
/// let asset = quartet.upload(&upload).await?;
/// println!("{:?}", asset.url);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Upload {
    source: Source,
    file_name: String,
    content_type: String,
    visibility: Visibility,
    checksum_sha256: Option<String>,
    progress: Listener,
}

/// The progress of an upload. Starts over when the connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub sent_bytes: u64,
    pub total_bytes: u64,
}

#[derive(Clone, Default)]
struct Listener(Option<Arc<dyn Fn(Progress) + Send + Sync>>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

impl Upload {
    /// A local file. Its media type follows from its extension.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read or is not a regular file.
    pub async fn path(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self::new(&name, Source::path(path).await?))
    }

    /// Bytes in memory.
    pub fn bytes(file_name: &str, bytes: impl Into<Bytes>) -> Self {
        Self::new(file_name, Source::bytes(bytes.into()))
    }

    /// Anything that can be read again from the beginning if the connection breaks.
    pub fn new(file_name: &str, source: Source) -> Self {
        Self {
            source,
            file_name: file_name.to_owned(),
            content_type: content_type::of(file_name).to_owned(),
            visibility: Visibility::Private,
            checksum_sha256: None,
            progress: Listener::default(),
        }
    }

    /// Makes the file readable by anyone.
    pub fn public(mut self) -> Self {
        self.visibility = Visibility::Public;
        self
    }

    pub fn content_type(mut self, content_type: &str) -> Self {
        content_type.clone_into(&mut self.content_type);
        self
    }

    /// The expected SHA-256 of the file, as 64 hexadecimal digits. The upload fails if it differs.
    pub fn checksum_sha256(mut self, digits: &str) -> Self {
        self.checksum_sha256 = Some(digits.to_owned());
        self
    }

    /// Registers a function that is called as bytes are sent.
    pub fn on_progress(mut self, listener: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.progress = Listener(Some(Arc::new(listener)));
        self
    }

    pub fn size_bytes(&self) -> u64 {
        self.source.size_bytes()
    }

    fn presign_request(&self) -> Result<PresignRequest, Error> {
        let size = i64::try_from(self.size_bytes());
        Ok(PresignRequest {
            file_name: self.file_name.clone(),
            content_type: self.content_type.clone(),
            size_bytes: size.map_err(|_| Error::Setup("the file is too large".into()))?,
            visibility: self.visibility,
            checksum_sha256: self.checksum_sha256.clone(),
        })
    }

    fn report(&self, sent_bytes: u64) {
        if let Some(listener) = &self.progress.0 {
            listener(Progress {
                sent_bytes,
                total_bytes: self.size_bytes(),
            });
        }
    }
}

impl Quartet {
    /// Uploads a file and returns the finished asset.
    ///
    /// Starts over when the connection breaks or the signed URL expires. If the upload fails
    /// nevertheless, the incomplete asset is deleted.
    pub async fn upload(&self, upload: &Upload) -> Result<Asset, Error> {
        let request = upload.presign_request()?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let presigned = self.api().presign_upload(None, &request).await?;
            let presigned = presigned.into_inner();
            let asset = match self.send_and_complete(&presigned, upload).await {
                Ok(Some(asset)) => return Ok(asset),
                Ok(None) => Err(Error::Store { status: 403 }),
                Err(error) => Err(error),
            };
            // Best effort: the server removes what is left after a while.
            let _ = self.delete_asset(&presigned.asset.id).await;
            match asset {
                Err(Error::Store { status: 403 }) if attempts < SIGNED_URLS => {}
                other => return other,
            }
        }
    }

    /// Sends the file and completes it; `None` if the signed URL has expired.
    async fn send_and_complete(
        &self,
        presigned: &Presigned,
        upload: &Upload,
    ) -> Result<Option<Asset>, Error> {
        if self.send(&presigned.upload, upload).await? == Sent::UrlExpired {
            return Ok(None);
        }
        let asset = self.api().complete_upload(&presigned.asset.id).await?;
        Ok(Some(asset.into_inner()))
    }
}
