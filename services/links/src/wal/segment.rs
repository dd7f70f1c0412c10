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
const _: () = assert!(CHUNK_BYTES > 2 * MAX_FRAME_BYTES);
/// Bytes of frames in a batch, after which no further chunk is read.
const BATCH_BYTES: u64 = 4 << 20;

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
    /// Whether the last bytes before `offset` were skipped.
    is_broken: bool,
}

/// Payloads in the order in which they were appended.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) payloads: Vec<Vec<u8>>,
    pub(crate) ending: BatchEnd,
    pub(crate) skipped: SkippedBytes,
}

/// Why a batch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchEnd {
    /// More payloads follow.
    More,
    /// The bound is reached.
    Done,
}

/// What is not a frame: a flipped bit, or a write that a power failure interrupted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SkippedBytes {
    /// Runs of such bytes; each was at least one frame.
    pub(crate) runs: u64,
    pub(crate) bytes: u64,
}

impl SegmentReader {
    pub(crate) fn open(directory: &Path, number: u64) -> io::Result<Self> {
        let path = path(directory, number);
        Ok(Self {
            file: Arc::new(File::open(&path)?),
            path,
            offset: 0,
            is_broken: false,
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
        let (reader, batch) = tokio::task::spawn_blocking(move || {
            let batch = reader.read(bound, rows);
            (reader, batch)
        })
        .await
        .map_err(io::Error::other)?;
        *self = reader;
        batch
    }

    /// Reads up to `rows` payloads that end before `bound`, or before the end of the file. What is
    /// not a frame is passed over, up to the next whole one.
    pub(super) fn read(&mut self, bound: Option<u64>, rows: usize) -> io::Result<Batch> {
        let bound = match bound {
            Some(bound) => bound,
            None => self.file.metadata()?.len(),
        };
        let mut batch = Batch {
            payloads: Vec::new(),
            ending: BatchEnd::More,
            skipped: SkippedBytes::default(),
        };
        if self.offset < SEGMENT_HEADER_BYTES {
            self.read_header(bound, &mut batch.skipped)?;
        }
        let mut bytes = 0;
        while batch.payloads.len() < rows && bytes < BATCH_BYTES {
            let chunk = self.chunk(bound)?;
            if chunk.is_empty() {
                batch.ending = BatchEnd::Done;
                break;
            }
            let is_last = self.offset + chunk.len() as u64 >= bound;
            let before = self.offset;
            self.take_frames(&chunk, is_last, rows, &mut batch);
            bytes += self.offset - before;
        }
        Ok(batch)
    }

    /// Deletes the file, whose payloads must be stored elsewhere. It may be gone already.
    pub(crate) fn delete(self) -> io::Result<()> {
        match std::fs::remove_file(self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes frames off a chunk, `is_last` if nothing follows it before the bound. Advances by at
    /// least one byte: a chunk that is not the last holds more than a frame.
    fn take_frames(&mut self, chunk: &[u8], is_last: bool, rows: usize, batch: &mut Batch) {
        let mut at = 0;
        while batch.payloads.len() < rows && at < chunk.len() {
            match frame::parse(&chunk[at..]) {
                Parsed::Frame { payload, length } => {
                    batch.payloads.push(payload.to_vec());
                    self.is_broken = false;
                    at += length;
                }
                // The rest of the frame is in the next chunk.
                Parsed::Incomplete if !is_last => break,
                Parsed::Incomplete | Parsed::Corrupt => {
                    let rest = &chunk[at + 1..];
                    let skipped = match frame::find(rest) {
                        Some(next) => next + 1,
                        None if is_last => chunk.len() - at,
                        // A frame may begin here and end in the next chunk.
                        None => (chunk.len() - at).saturating_sub(MAX_FRAME_BYTES).max(1),
                    };
                    batch.skipped.bytes += skipped as u64;
                    batch.skipped.runs += u64::from(!self.is_broken);
                    self.is_broken = true;
                    at += skipped;
                }
            }
        }
        self.offset += at as u64;
    }

    /// The header only says which program wrote the file: what follows is read even without it.
    fn read_header(&mut self, bound: u64, skipped: &mut SkippedBytes) -> io::Result<()> {
        let mut header = [0; HEADER.len()];
        let length = SEGMENT_HEADER_BYTES.min(bound);
        let there = usize::try_from(length).unwrap_or(0);
        self.file.read_exact_at(&mut header[..there], 0)?;
        self.offset = length;
        if &header != HEADER && length > 0 {
            skipped.bytes += length;
            skipped.runs += 1;
        }
        Ok(())
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

    fn frames(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for payload in payloads {
            frame::append(payload, &mut bytes).unwrap();
        }
        bytes
    }

    fn written(payloads: &[Vec<u8>], tail: &[u8]) -> (tempfile::TempDir, SegmentReader) {
        let directory = tempfile::tempdir().unwrap();
        let (mut file, _) = create(directory.path(), 1).unwrap();
        file.write_all(&frames(payloads)).unwrap();
        file.write_all(tail).unwrap();
        let reader = SegmentReader::open(directory.path(), 1).unwrap();
        (directory, reader)
    }

    fn read_all(reader: &mut SegmentReader, rows: usize) -> (Vec<Vec<u8>>, SkippedBytes) {
        let (mut all, mut skipped) = (Vec::new(), SkippedBytes::default());
        loop {
            let batch = reader.read(None, rows).unwrap();
            assert!(batch.payloads.len() <= rows);
            all.extend(batch.payloads);
            skipped.runs += batch.skipped.runs;
            skipped.bytes += batch.skipped.bytes;
            if batch.ending != BatchEnd::More {
                return (all, skipped);
            }
        }
    }

    fn skipped(runs: u64, bytes: u64) -> SkippedBytes {
        SkippedBytes { runs, bytes }
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
            let (read, skipped) = read_all(&mut reader, rows);
            prop_assert_eq!(&read[..], &payloads[..whole]);
            let kept: usize = HEADER.len() + payloads[..whole].iter().map(|p| 8 + p.len()).sum::<usize>();
            let torn = if keep < HEADER.len() { keep } else { keep - kept };
            prop_assert_eq!(skipped, super::SkippedBytes { runs: u64::from(torn > 0), bytes: torn as u64 });
        }

        #[test]
        fn a_broken_byte_costs_the_frame_that_it_is_in(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 1..20),
            position in any::<prop::sample::Index>(),
            rows in 1_usize..20,
        ) {
            let (directory, _) = written(&payloads, &[]);
            let path = path(directory.path(), 1);
            let mut bytes = std::fs::read(&path).unwrap();
            let index = HEADER.len() + position.index(bytes.len() - HEADER.len());
            bytes[index] = !bytes[index];
            std::fs::write(&path, &bytes).unwrap();
            let mut end = HEADER.len();
            let broken = payloads.iter().take_while(|p| { end += 8 + p.len(); end <= index }).count();
            let mut expected = payloads.clone();
            let lost = expected.remove(broken);
            let mut reader = SegmentReader::open(directory.path(), 1).unwrap();
            let (read, skipped) = read_all(&mut reader, rows);
            prop_assert_eq!(read, expected);
            prop_assert_eq!(skipped, super::SkippedBytes { runs: 1, bytes: 8 + lost.len() as u64 });
        }
    }

    #[test]
    fn trailing_zeros_are_skipped() {
        let (_directory, mut reader) = written(&[b"one".to_vec()], &[0; 100]);
        let expected = (vec![b"one".to_vec()], skipped(1, 100));
        assert_eq!(read_all(&mut reader, 10), expected);
    }

    #[test]
    fn a_frame_behind_a_long_broken_run_is_found() {
        // The run ends in the middle of a chunk, and at every place around a chunk's end.
        for extra in [1000, CHUNK_BYTES - 30, CHUNK_BYTES - 3, CHUNK_BYTES + 2] {
            let mut tail = vec![0xEE; extra];
            tail.extend(frames(&[b"two".to_vec()]));
            let (_directory, mut reader) = written(&[b"one".to_vec()], &tail);
            let expected = vec![b"one".to_vec(), b"two".to_vec()];
            let read = read_all(&mut reader, 10);
            assert_eq!(read, (expected, skipped(1, extra as u64)), "{extra}");
        }
    }

    #[test]
    fn a_broken_header_costs_no_frame() {
        let (directory, _) = written(&[b"one".to_vec()], &[]);
        let path = path(directory.path(), 1);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[3] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let mut reader = SegmentReader::open(directory.path(), 1).unwrap();
        let expected = (vec![b"one".to_vec()], skipped(1, 8));
        assert_eq!(read_all(&mut reader, 10), expected);
    }

    #[test]
    fn payloads_after_the_bound_are_not_read() {
        let payloads = [b"one".to_vec(), b"two".to_vec()];
        let (_directory, mut reader) = written(&payloads, &[]);
        let bound = SEGMENT_HEADER_BYTES + 8 + 3;
        let first = reader.read(Some(bound), 10).unwrap();
        assert_eq!(
            (first.payloads, first.ending),
            (vec![b"one".to_vec()], BatchEnd::Done)
        );
        let second = reader.read(Some(bound + 11), 10).unwrap();
        assert_eq!(second.payloads, [b"two".to_vec()]);
    }

    #[test]
    fn payloads_beyond_one_chunk_are_read() {
        let payloads: Vec<Vec<u8>> = (0..400_u16).map(|n| vec![(n % 251) as u8; 4000]).collect();
        let (_directory, mut reader) = written(&payloads, &[]);
        assert_eq!(read_all(&mut reader, 150), (payloads, skipped(0, 0)));
    }
}
