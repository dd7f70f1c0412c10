//! The content of an upload, which can be read more than once.

use std::fmt;
use std::io::{self, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

/// Large enough for a fast connection, small enough for a smooth progress bar.
const CHUNK_BYTES: usize = 64 * 1024;

pub(super) type Chunks = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;
type Open = dyn Fn(Range<u64>) -> Chunks + Send + Sync;

/// The bytes of an upload. Any range can be read at any time, as often as needed.
#[derive(Clone)]
pub struct Source {
    size_bytes: u64,
    open: Arc<Open>,
}

impl Source {
    /// Content of a known size; `open` returns the bytes of a range.
    pub fn new<F, S>(size_bytes: u64, open: F) -> Self
    where
        F: Fn(Range<u64>) -> S + Send + Sync + 'static,
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        Self {
            size_bytes,
            open: Arc::new(move |range| open(range).boxed()),
        }
    }

    pub(super) async fn path(path: &Path) -> io::Result<Self> {
        let about = tokio::fs::metadata(path).await?;
        if !about.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let path = Arc::new(path.to_owned());
        Ok(Self::new(about.len(), move |range| {
            stream::once(read(Arc::clone(&path), range)).flatten()
        }))
    }

    pub(super) fn bytes(bytes: Bytes) -> Self {
        let size = bytes.len() as u64;
        Self::new(size, move |range| {
            let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
            let mut rest = bytes.slice(place(range.start)..place(range.end));
            stream::iter(std::iter::from_fn(move || {
                let chunk = rest.split_to(rest.len().min(CHUNK_BYTES));
                (!chunk.is_empty()).then_some(Ok(chunk))
            }))
        })
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The bytes of a range.
    pub(super) fn open(&self, range: Range<u64>) -> Chunks {
        (self.open)(range)
    }
}

async fn read(path: Arc<PathBuf>, range: Range<u64>) -> Chunks {
    let opened = async {
        let mut file = File::open(&*path).await?;
        file.seek(SeekFrom::Start(range.start)).await?;
        let part = file.take(range.end.saturating_sub(range.start));
        io::Result::Ok(ReaderStream::with_capacity(part, CHUNK_BYTES))
    };
    match opened.await {
        Ok(chunks) => chunks.boxed(),
        Err(error) => stream::once(async { Err(error) }).boxed(),
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("size_bytes", &self.size_bytes)
            .finish_non_exhaustive()
    }
}
