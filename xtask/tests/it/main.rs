//! The commands as a developer runs them: the real program, with fakes of the services and of cargo.
#![allow(clippy::unwrap_used, reason = "tests")]

mod command_line;
mod contract;
mod fake;
mod generate;
mod release;
mod sandbox;
mod up;
