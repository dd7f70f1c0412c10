//! The list of links: filter, order, and pages as specified by Relay.

mod comparison;
mod connection;
mod cursor;
mod filter;
mod order;

pub(super) use connection::{LinkConnection, PageArguments, max_rows};
pub(super) use filter::{LinkFilter, search_cost};
pub(super) use order::{LinkOrder, order};
