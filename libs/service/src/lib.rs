//! What the axum services have in common from `main` to the last request: the command line, the
//! order in which a replica starts and stops, the part of the state that all of them need,
//! idempotency keys, and the routes that serve the OpenAPI document.
//!
//! A service implements [`Service`]; its `main.rs` is `quartet_service::main::<Service>()`.
//!
//! ```text
//! settings checked -> schema current -> state -> start: prepare, start jobs
//!     -> serve until SIGTERM -> drain -> stop -> jobs end -> pool closed
//! ```
//!
//! Nothing in here names a table, a route or a setting of a single service. What needs neither a
//! database nor axum belongs in `quartet-common`.

mod assembly;
mod base;
mod command;
mod dead_letters;
mod detached;
mod documents;
pub mod idempotency;
mod replica;
mod secrets;
mod service;

pub use base::Base;
pub use command::{main, with_base};
pub use detached::detached;
pub use replica::Replica;
pub use service::{NoCommand, Sections, Service, Settings, check, check_serving};
