//! For tests of the services: a database of their own, an issuer of tokens, a process whose log is
//! read, and a watch over responses.

pub mod arrows;
pub mod child;
mod closed;
mod complete;
pub mod contract;
#[cfg(feature = "database")]
mod database;
mod issuer;
pub mod server;
mod watch;

pub use complete::assert_complete;
#[cfg(feature = "database")]
pub use database::{ADMIN_URL, TestDatabase};
pub use issuer::{AUDIENCE, ISSUER, Issuer};
pub use watch::Watch;
