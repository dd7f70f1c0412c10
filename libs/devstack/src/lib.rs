//! Starts and stops what Quartet needs on a developer's machine: a Postgres
//! server, the database roles and service processes.
//!
//! Blocking standard-library code with few dependencies, because `cargo xtask`
//! has to start fast. Also used by the end-to-end tests and the benchmarks.
//!
//! Whatever this crate starts also ends when the process that started it is
//! killed: every child has a lifeline (see [`lifeline`]).

mod cancel;
mod error;
pub mod http;
mod lifeline;
mod logfile;
pub mod port;
pub mod postgres;
pub mod roles;
pub mod secret;
mod service;
pub mod stack;
mod user;
pub mod workspace;

pub use cancel::Cancel;
pub use error::{Error, Result};
pub use lifeline::Lifeline;
pub use postgres::{Options, Postgres, PostgresUrl};
pub use service::{Service, ServiceSpec};

/// Receives one line for each thing that is worth telling the person who waits.
pub type Say = fn(&str);

/// Says nothing: for tests.
pub fn silent(_line: &str) {}
