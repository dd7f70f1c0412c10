//! Work that runs beside requests: a [`Job`] says what to do and how often, the [`Runner`]
//! supervises it.
//!
//! ```text
//!            +--------- period, or woken ---------+
//!            v                                    |
//!   wait -> run -> success: failures = 0 ---------+
//!            |
//!            +---> error or panic: failures += 1, wait for the backoff, run again
//! ```
//!
//! Invariants:
//! - No error and no panic ends a job. Each is logged and counted, and the job runs again after a
//!   backoff that doubles up to a bound.
//! - A job never overlaps with itself in one process. Replicas do run the same job at the same
//!   time, so a job has to tolerate that.
//! - [`Runner::stop`] returns within its grace period. Dropping the runner cancels every run.
//! - A job without a success for its [`Job::stale_after`] is reported by [`Monitor::stale`]. It
//!   does not make the replica unready: requests are served without it.
//!
//! The one exception is work without which the replica must not go on, such as moving clicks from
//! the log to the database: [`Runner::start_essential`] shuts the process down if it fails.

mod job;
mod metrics;
mod progress;
mod runner;

pub use job::{Backoff, Job, Run};
pub use progress::{Monitor, Stale};
pub use runner::Runner;
