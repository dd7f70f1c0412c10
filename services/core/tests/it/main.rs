//! Tests of the core service through HTTP, with a real Postgres.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod accounts;
mod algorithms;
mod api_keys;
mod bad_input;
mod clocks;
mod dead_letters;
mod events;
mod keys;
mod layers;
mod login;
mod logs;
mod races;
mod refresh;
mod revocations;
mod rotation;
mod sessions;
mod settings;
mod shutdown;
mod sign_up;
mod start;
mod support;
mod throttle;
mod ticks;
mod tokens;
mod unusable_keys;
mod users;
