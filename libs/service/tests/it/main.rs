//! `Idempotency-Key` on a real Postgres.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod idempotency;
mod leaving;
