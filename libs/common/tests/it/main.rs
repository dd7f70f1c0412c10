//! The shared parts, seen through a real socket and a real Postgres.

mod idempotency;
mod jwt;
mod layers;
mod serve;
mod support;
