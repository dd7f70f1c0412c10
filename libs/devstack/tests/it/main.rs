//! Against real Postgres servers and real processes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod postgres;
mod roles;
mod service;
mod support;
