//! The log: JSON lines on stdout that never block the code that writes them.
//!
//! ```text
//! request --> AccessLine --+
//!                          +--> Line (a buffer of the thread) --> Queue (shards, 4 MiB)
//! event ----> JsonLines ---+                                         |
//!                                                                    v
//!                                  stdout <-- one write per shard -- writer thread
//! ```
//!
//! Invariants:
//! - Writing a line takes no system call and waits for no reader. At most a shard's lock is held
//!   while bytes are copied, and at most once per batch the writer thread is unparked.
//! - At most [`LIMIT_BYTES`] wait, those being written included. A line that does not fit is
//!   dropped and counted in `log_lines_dropped_total`; once stdout accepts bytes again, a line
//!   reports how many there were.
//! - Lines of one thread keep their order. Lines of different threads may be swapped within a
//!   batch: order by `timestamp`.
//!
//! Without a thread of its own, the first reader of stdout that stalls (a full pipe of a container
//! runtime) would stop every worker in `write(2)` while the probes keep reporting a healthy process.

mod access;
mod bridge;
mod events;
mod line;
mod panics;
mod queue;

/// Of the access log and of most events.
const TARGET: &str = "quartet";

pub use access::AccessLine;
pub use queue::LIMIT_BYTES;

pub(crate) use bridge::{bridge, limit_bridge};
pub(crate) use events::JsonLines;
pub(crate) use panics::log_panics;
pub(crate) use queue::{dropped, flush, start};
