//! GraphQL: the second API on the functions of `domain`.
//!
//! ```text
//! transport   HTTP, server-sent events and WebSocket: request in, responses out
//!    |  \ explorer   the page that browsers get
//!  budget   what a user may cause, per second and at the same time
//!  guard    limits on a document, checked before anything walks it
//! variables values, put in the place of variables; usages: whether they are allowed there
//! schema    types, arguments and resolvers
//!    |
//!  error    errors as GraphQL shows them
//! ```
//!
//! Imports follow the lines downward. Only `transport` knows HTTP, only `schema` calls `domain`.

mod budget;
mod error;
mod explorer;
mod guard;
mod schema;
mod transport;
mod usages;
mod variables;

pub(crate) use schema::sdl;
pub(crate) use transport::{GraphQlState, routes};
