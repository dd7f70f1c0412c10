//! A write-ahead log on the local disk. It knows nothing about the payloads that it stores.
//!
//! ```text
//! log_dir/
//!   018f.../             one directory per replica
//!     lock               locked by the replica for as long as it lives
//!     0000000001.wal     sealed: "QLCLICK1", then frames (length, CRC-32, payload)
//!     0000000002.wal     the current one
//! ```
//!
//! What holds, and what would go wrong otherwise:
//! - A confirmed append is in the file. One task writes what many requests append in one `write`
//!   (group commit, see [`log`]); if the write fails, the file is truncated to the last whole frame.
//! - Readers see only what lies before the published position, never a frame that is half written.
//! - Every frame has a checksum. A broken frame costs that frame only: reading continues with the next
//!   whole one, and what was skipped is counted. After a power failure a segment may end in a torn
//!   frame or in zeros.
//! - A segment is deleted only after its payloads are stored elsewhere. A crash in between makes them
//!   be read again, so that storing them must be idempotent.
//! - A directory whose lock can be taken belongs to a dead replica. The lock, not a timeout or a
//!   process id, decides this, so that a slow replica never loses its log to another one.

mod directory;
mod frame;
mod held;
mod log;
mod segment;
mod syncer;
mod writer;

pub(crate) use directory::Directory;
#[cfg(test)]
pub(crate) use frame::MAX_PAYLOAD_BYTES;
pub(crate) use log::{AppendError, Wal};
pub(crate) use segment::{BatchEnd, SEGMENT_HEADER_BYTES, SegmentReader, SkippedBytes};
pub(crate) use writer::{Fsync, Position, Settings};
