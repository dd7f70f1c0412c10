//! Jobs under a clock that tests move: Tokio's paused time.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod runs;
mod shutdown;
mod spans;
mod support;
mod watching;
