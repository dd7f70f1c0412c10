//! Migrations and pools on a real Postgres.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod db;
mod handover;
mod pooler;
mod rounds;
mod tls;
mod unanswered;
