//! Against real Postgres servers and real processes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod postgres;
mod roles;
mod secrets;
mod service;
mod support;
