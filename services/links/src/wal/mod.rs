//! A write-ahead log on the local disk: what is in it survives the process.
//!
//! Each replica writes into a directory of its own and holds its lock for as long as
//! it lives. A directory whose lock can be had belongs to a replica that is gone; whoever
//! takes the lock replays what it left. The log knows nothing of what it stores.

mod directory;
mod frame;
mod segment;
mod writer;

pub(crate) use directory::Directory;
#[cfg(test)]
pub(crate) use frame::MAX_PAYLOAD_BYTES;
pub(crate) use segment::{Ending, SegmentReader};
pub(crate) use writer::{AppendError, Fsync, Position, Settings, Wal};
