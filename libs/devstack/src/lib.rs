//! Starts and stops what Quartet needs on a developer's machine: a Postgres
//! server, the database roles and service processes.
//!
//! Blocking code with few dependencies, because `cargo xtask` has to start fast.
//! Also used by the end-to-end tests and the benchmarks.
//!
//! Every process started here also ends when its starter is killed: each has a
//! lifeline (see `lifeline.rs`).

mod cancel;
pub mod command;
pub mod http;
mod lifeline;
pub mod port;
pub mod postgres;
pub mod roles;
pub mod secret;
mod service;
pub mod signals;
pub mod stack;
mod user;
pub mod workspace;

pub use cancel::Cancel;
pub use postgres::{Options, Postgres, PostgresUrl};
pub use service::{Service, ServiceSpec};
