//! What a user may cause, the same over POST, GET, server-sent events and WebSocket.
//!
//! ```text
//! message on a WebSocket --> charged, and the socket is read again once the bucket has made up for it
//! size of the document  --> charged before it is parsed
//! cost of the operation --> at most `graphql.max_cost`, then charged, before anything runs
//! operation, subscription, connection to Postgres, socket --> a permit while it lasts
//! response --> counted field by field, at most `graphql.max_response_bytes`
//!          --> bytes that wait for a slow socket hold permits
//! ```
//!
//! Each user has a bucket of `graphql.cost_burst` units that refills with `graphql.cost_per_second`.
//! The table of users is bounded; one that has a full bucket and runs nothing is forgotten, and a new
//! one is refused while the table is full of others. Each replica has its own table.

mod bucket;
mod meter;
mod users;

pub(crate) use bucket::{Balance, units_of_bytes};
pub(crate) use meter::Meter;
pub(crate) use users::{User, Users};
