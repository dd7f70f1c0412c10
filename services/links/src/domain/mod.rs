//! The rules: what a link is, where it redirects, and what a click counts for.

mod bots;
pub(crate) mod click_batches;
pub(crate) mod click_log;
pub(crate) mod click_series;
pub(crate) mod clicks;
pub(crate) mod context;
pub(crate) mod feeds;
mod link_input;
pub(crate) mod links;
mod redirect_cache;
pub(crate) mod redirects;
pub(crate) mod salts;
pub(crate) mod slugs;
pub(crate) mod targets;
pub(crate) mod times;
pub(crate) mod visitor;

pub(crate) use context::Context;
