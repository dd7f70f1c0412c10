//! Uploading a file: presign, PUT to the store, complete.

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

/// How often a signed address is asked for: the first one may end while a long queue waits.
const ADDRESSES: u32 = 3;

/// A file to be uploaded.
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

/// How far an upload is. After a broken connection it begins anew.
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
    /// A file of this machine. Its kind is guessed by the end of its name.
    ///
    /// # Errors
    /// When it cannot be read or is no file.
    pub async fn path(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self::new(&name, Source::path(path).await?))
    }

    /// Bytes in memory.
    pub fn bytes(file_name: &str, bytes: impl Into<Bytes>) -> Self {
        Self::new(file_name, Source::bytes(bytes.into()))
    }

    /// Anything that can be read, from the beginning again if the connection breaks.
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

    /// Everybody may read the file.
    pub fn public(mut self) -> Self {
        self.visibility = Visibility::Public;
        self
    }

    pub fn content_type(mut self, content_type: &str) -> Self {
        content_type.clone_into(&mut self.content_type);
        self
    }

    /// What the file's SHA-256 must be, in 64 hexadecimal digits: the upload fails otherwise.
    pub fn checksum_sha256(mut self, digits: &str) -> Self {
        self.checksum_sha256 = Some(digits.to_owned());
        self
    }

    /// Called as bytes leave this machine.
    pub fn on_progress(mut self, listener: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.progress = Listener(Some(Arc::new(listener)));
        self
    }

    pub fn size_bytes(&self) -> u64 {
        self.source.size_bytes()
    }

    fn promise(&self) -> Result<PresignRequest, Error> {
        let size = i64::try_from(self.size_bytes());
        Ok(PresignRequest {
            file_name: self.file_name.clone(),
            content_type: self.content_type.clone(),
            size_bytes: size.map_err(|_| Error::Setup("the file is too large".into()))?,
            visibility: self.visibility,
            checksum_sha256: self.checksum_sha256.clone(),
        })
    }

    fn tell(&self, sent_bytes: u64) {
        if let Some(listener) = &self.progress.0 {
            listener(Progress {
                sent_bytes,
                total_bytes: self.size_bytes(),
            });
        }
    }
}

impl Quartet {
    /// Uploads a file and gives the finished asset.
    ///
    /// A connection that breaks begins the file anew; an address that has ended is replaced. If
    /// it fails in the end, no half of it stays.
    pub async fn upload(&self, upload: &Upload) -> Result<Asset, Error> {
        let promise = upload.promise()?;
        let mut addresses = 0;
        loop {
            addresses += 1;
            let presigned = self.api().presign_upload(None, &promise).await?;
            let presigned = presigned.into_inner();
            let asset = match self.fulfil(&presigned, upload).await {
                Ok(Some(asset)) => return Ok(asset),
                Ok(None) => Err(Error::Store { status: 403 }),
                Err(error) => Err(error),
            };
            // Best effort: what stays is removed by the server after a while.
            let _ = self.delete_asset(&presigned.asset.id).await;
            match asset {
                Err(Error::Store { status: 403 }) if addresses < ADDRESSES => {}
                other => return other,
            }
        }
    }

    /// Sends the file and completes it; nothing when the address has ended before.
    async fn fulfil(&self, presigned: &Presigned, upload: &Upload) -> Result<Option<Asset>, Error> {
        if self.send(&presigned.upload, upload).await? == Sent::TooLate {
            return Ok(None);
        }
        let asset = self.api().complete_upload(&presigned.asset.id).await?;
        Ok(Some(asset.into_inner()))
    }
}
