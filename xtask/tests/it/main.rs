//! The commands as a developer meets them: the real program, with stand-ins for
//! the services and for cargo.
#![allow(clippy::unwrap_used, reason = "tests")]

mod command_line;
mod generate;
mod release;
mod sandbox;
mod stand_in;
mod up;
