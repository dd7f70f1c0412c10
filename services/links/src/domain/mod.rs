//! The rules: what a link is, where it leads, and what a visit counts for.

pub(crate) mod clicks;
pub(crate) mod feeds;
pub(crate) mod links;
pub(crate) mod redirects;
pub(crate) mod salts;
pub(crate) mod slugs;
pub(crate) mod targets;
pub(crate) mod visits;
