//! A write-ahead log on the local disk. It knows nothing about the payloads that it stores.
//!
//! ```text
//! log_dir/
//!   018f.../             one directory per replica
//!     lock               locked by the replica for as long as it lives
//!     0000000001.wal     sealed: "QLCLICK1", then frames (length, CRC-32, payload)
//!     0000000002.wal     written by the writer thread
//! ```
//!
//! What holds, and what would go wrong otherwise:
//! - A confirmed append is in the file. One thread writes what many requests append in one `write`
//!   (group commit); if the write fails, the file is truncated to the last whole frame, since nothing
//!   behind a partial frame could be read again.
//! - Readers see only what lies before the published position, never a frame that is half written.
//! - Every frame has a checksum. After a power failure a segment may end in a torn frame or in zeros;
//!   reading stops there, and everything before it is intact.
//! - A segment is deleted only after its payloads are stored elsewhere. A crash in between makes them
//!   be read again, so that storing them must be idempotent.
//! - A directory whose lock can be taken belongs to a dead replica. The lock, not a timeout or a
//!   process id, decides this, so that a slow replica never loses its log to another one.

mod directory;
mod frame;
mod segment;
mod writer;

pub(crate) use directory::Directory;
#[cfg(test)]
pub(crate) use frame::MAX_PAYLOAD_BYTES;
pub(crate) use segment::{Ending, SEGMENT_HEADER_BYTES, SegmentReader};
pub(crate) use writer::{AppendError, Fsync, Position, Settings, Wal};
