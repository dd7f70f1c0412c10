//! Events from the outbox of one service to the inbox of another, over HTTP.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod delivery;
mod erasing;
mod kills;
mod racing;
mod receiving;
mod streams;
mod support;
mod tables;
