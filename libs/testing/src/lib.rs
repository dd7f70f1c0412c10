//! For tests of the services: a database of their own, an issuer of tokens, and a watch over answers.

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
