//! The shared parts, seen through a real socket and a real Postgres.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod db;
mod idempotency;
mod jwt;
mod layers;
mod serve;
mod support;
mod telemetry;
mod watch;
