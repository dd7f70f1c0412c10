//! Quartet through its public interface: the real binaries, a real Postgres, a real S3.
//!
//! `cargo xtask e2e` builds the binaries, starts a throw-away Postgres and runs these tests.

#![expect(clippy::unwrap_used, reason = "the whole target is tests")]

mod harness;

mod access;
mod api_keys;
mod client;
mod command_line;
mod compose;
mod crashes;
mod disconnects;
mod identity;
mod invalid_input;
mod journey;
mod limits;
mod public_surface;
mod replicas;
mod retries;
mod revocations;
