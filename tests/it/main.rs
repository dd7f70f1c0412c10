//! Quartet through its public door: the real binaries, a real Postgres, a real S3.
//!
//! `cargo xtask e2e` builds the binaries, starts a throw-away Postgres and runs these.

#![expect(clippy::unwrap_used, reason = "the whole target is tests")]

mod harness;

mod access;
mod bad_input;
mod client;
mod command_line;
mod compose;
mod crashes;
mod departures;
mod door;
mod identity;
mod journey;
mod limits;
mod replicas;
