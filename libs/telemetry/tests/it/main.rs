//! The log and the export of spans, seen from outside the process.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod documented;
mod grpc;
mod metrics;
mod output;
mod source;
