//! Tests of the media service through HTTP, with a real Postgres and the development S3 server.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod assets;
mod complete;
mod dead_letters;
mod documents;
mod erasure;
mod isolation;
mod layers;
mod presign;
mod start;
mod statements;
mod streams;
mod support;
mod sweep;
mod ticks;
