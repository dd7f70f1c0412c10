//! Segments: numbered files of frames, after a header that names the format.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::frame::{self, MAX_FRAME_BYTES, Parsed};

const HEADER: &[u8; 8] = b"QLCLICK1";
pub(crate) const SEGMENT_HEADER_BYTES: u64 = HEADER.len() as u64;
/// Bytes per read; at least one whole frame.
const CHUNK_BYTES: usize = 512 * 1024;
const _: () = assert!(CHUNK_BYTES > MAX_FRAME_BYTES);

pub(super) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:010}.wal"))
}

/// The segment number in a file name.
pub(super) fn number(name: &str) -> Option<u64> {
    name.strip_suffix(".wal")?.parse().ok()
}

/// Creates a segment; returns the file and the offset of its first frame.
pub(super) fn create(directory: &Path, number: u64) -> io::Result<(File, u64)> {
    let path = path(directory, number);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)?;
    if let Err(error) = file.write_all(HEADER) {
        let _ = std::fs::remove_file(path);
        return Err(error);
    }
    Ok((file, SEGMENT_HEADER_BYTES))
}

/// Reads a segment from the start, even while it grows.
#[derive(Clone, Debug)]
pub(crate) struct SegmentReader {
    file: Arc<File>,
    path: PathBuf,
    offset: u64,
}

/// Payloads in the order in which they were appended.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) payloads: Vec<Vec<u8>>,
    pub(crate) ending: Ending,
}

/// Why a batch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// More payloads follow.
    More,
    /// The bound is reached.
    Done,
    /// The remaining bytes are not a frame: a write that a power failure interrupted.
    Torn(u64),
}

impl Ending {
    pub(crate) fn warn_if_torn(self, segment: u64) {
        if let Self::Torn(bytes @ 1..) = self {
            tracing::warn!(segment, bytes, "torn end of a click log segment skipped");
        }
    }
}

impl SegmentReader {
    pub(crate) fn open(directory: &Path, number: u64) -> io::Result<Self> {
        let path = path(directory, number);
        Ok(Self {
            file: Arc::new(File::open(&path)?),
            path,
            offset: 0,
        })
    }

    /// Bytes read so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Like [`Self::read`], on a thread for blocking work.
    pub(crate) async fn read_batch(
        &mut self,
        bound: Option<u64>,
        rows: usize,
    ) -> io::Result<Batch> {
        let mut reader = self.clone();
        let (offset, batch) = tokio::task::spawn_blocking(move || {
            let batch = reader.read(bound, rows);
            (reader.offset, batch)
        })
        .await
        .map_err(io::Error::other)?;
        self.offset = offset;
        batch
    }

    /// Reads up to `rows` payloads that end before `bound`, or before the end of the file.
    pub(super) fn read(&mut self, bound: Option<u64>, rows: usize) -> io::Result<Batch> {
        let bound = match bound {
            Some(bound) => bound,
            None => self.file.metadata()?.len(),
        };
        let mut batch = Batch {
            payloads: Vec::new(),
            ending: Ending::More,
        };
        if self.offset < SEGMENT_HEADER_BYTES && !self.skip_header(bound)? {
            batch.ending = Ending::Torn(bound);
            return Ok(batch);
        }
        while batch.payloads.len() < rows {
            let chunk = self.chunk(bound)?;
            if chunk.is_empty() {
                batch.ending = Ending::Done;
                break;
            }
            let before = self.offset;
            let is_corrupt = self.take_frames(&chunk, rows, &mut batch.payloads);
            if is_corrupt || self.offset == before {
                batch.ending = Ending::Torn(bound - self.offset);
                break;
            }
        }
        Ok(batch)
    }

    /// Deletes the file, whose payloads must be stored elsewhere.
    pub(crate) fn delete(self) -> io::Result<()> {
        std::fs::remove_file(self.path)
    }

    /// Takes whole frames off a chunk; returns whether the bytes after them cannot be a frame.
    fn take_frames(&mut self, chunk: &[u8], rows: usize, into: &mut Vec<Vec<u8>>) -> bool {
        let mut rest = chunk;
        while into.len() < rows {
            match frame::parse(rest) {
                Parsed::Frame { payload, length } => {
                    into.push(payload.to_vec());
                    self.offset += length as u64;
                    rest = &rest[length..];
                }
                Parsed::Incomplete => return false,
                Parsed::Corrupt => return true,
            }
        }
        false
    }

    fn skip_header(&mut self, bound: u64) -> io::Result<bool> {
        let mut header = [0; HEADER.len()];
        if bound < SEGMENT_HEADER_BYTES {
            return Ok(false);
        }
        self.file.read_exact_at(&mut header, 0)?;
        self.offset = SEGMENT_HEADER_BYTES;
        Ok(&header == HEADER)
    }

    fn chunk(&self, bound: u64) -> io::Result<Vec<u8>> {
        let left = usize::try_from(bound.saturating_sub(self.offset)).unwrap_or(CHUNK_BYTES);
        let mut chunk = vec![0; left.min(CHUNK_BYTES)];
        self.file.read_exact_at(&mut chunk, self.offset)?;
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(payloads: &[Vec<u8>], tail: &[u8]) -> (tempfile::TempDir, SegmentReader) {
        let directory = tempfile::tempdir().unwrap();
        let (mut file, _) = create(directory.path(), 1).unwrap();
        for payload in payloads {
            file.write_all(&frame::encode(payload).unwrap()).unwrap();
        }
        file.write_all(tail).unwrap();
        let reader = SegmentReader::open(directory.path(), 1).unwrap();
        (directory, reader)
    }

    fn read_all(reader: &mut SegmentReader, rows: usize) -> (Vec<Vec<u8>>, Ending) {
        let mut all = Vec::new();
        loop {
            let batch = reader.read(None, rows).unwrap();
            all.extend(batch.payloads);
            if batch.ending != Ending::More {
                return (all, batch.ending);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn torn_tail_loses_no_whole_frame(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 0..40),
            cut in any::<prop::sample::Index>(),
            rows in 1_usize..20,
        ) {
            let (directory, _) = written(&payloads, &[]);
            let path = path(directory.path(), 1);
            let bytes = std::fs::read(&path).unwrap();
            let keep = cut.index(bytes.len() + 1);
            std::fs::write(&path, &bytes[..keep]).unwrap();

            let mut end = HEADER.len();
            let whole = payloads.iter().take_while(|p| { end += 8 + p.len(); end <= keep }).count();
            let mut reader = SegmentReader::open(directory.path(), 1).unwrap();
            let (read, ending) = read_all(&mut reader, rows);
            prop_assert_eq!(&read[..], &payloads[..whole]);
            let kept: usize = HEADER.len() + payloads[..whole].iter().map(|p| 8 + p.len()).sum::<usize>();
            let torn = if keep < HEADER.len() { keep } else { keep - kept };
            let expected = if keep >= HEADER.len() && torn == 0 { Ending::Done } else { Ending::Torn(torn as u64) };
            prop_assert_eq!(ending, expected);
        }

        #[test]
        fn corrupt_byte_ends_the_batch_before_its_frame(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 1..20),
            position in any::<prop::sample::Index>(),
        ) {
            let (directory, _) = written(&payloads, &[]);
            let path = path(directory.path(), 1);
            let mut bytes = std::fs::read(&path).unwrap();
            let index = HEADER.len() + position.index(bytes.len() - HEADER.len());
            bytes[index] = !bytes[index];
            std::fs::write(&path, &bytes).unwrap();
            let mut reader = SegmentReader::open(directory.path(), 1).unwrap();
            let (read, ending) = read_all(&mut reader, 7);
            prop_assert!(matches!(ending, Ending::Torn(_)));
            prop_assert_eq!(&read[..], &payloads[..read.len()]);
        }
    }

    #[test]
    fn trailing_zeros_are_a_torn_tail() {
        let (_directory, mut reader) = written(&[b"one".to_vec()], &[0; 100]);
        assert_eq!(
            read_all(&mut reader, 10),
            (vec![b"one".to_vec()], Ending::Torn(100))
        );
    }

    #[test]
    fn payloads_after_the_bound_are_not_read() {
        let payloads = [b"one".to_vec(), b"two".to_vec()];
        let (_directory, mut reader) = written(&payloads, &[]);
        let bound = SEGMENT_HEADER_BYTES + 8 + 3;
        let first = reader.read(Some(bound), 10).unwrap();
        assert_eq!(
            (first.payloads, first.ending),
            (vec![b"one".to_vec()], Ending::Done)
        );
        let second = reader.read(Some(bound + 11), 10).unwrap();
        assert_eq!(second.payloads, [b"two".to_vec()]);
    }

    #[test]
    fn payloads_beyond_one_chunk_are_read() {
        let payloads: Vec<Vec<u8>> = (0..400_u16).map(|n| vec![(n % 251) as u8; 4000]).collect();
        let (_directory, mut reader) = written(&payloads, &[]);
        assert_eq!(read_all(&mut reader, 150), (payloads, Ending::Done));
    }
}
