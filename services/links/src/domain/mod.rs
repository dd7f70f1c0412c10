//! The rules: what a link is, where it redirects, and what a click counts for.
//!
//! Operations are functions on a [`Context`]. They check rules, own transactions, and know neither
//! HTTP headers nor GraphQL. `values` are checked values without effects; `replica` is what one
//! replica keeps in memory and on disk.

pub(crate) mod click_batches;
pub(crate) mod click_series;
mod context;
mod link_input;
pub(crate) mod links;
pub(crate) mod redirects;
pub(crate) mod replica;
pub(crate) mod values;

pub(crate) use context::Context;
