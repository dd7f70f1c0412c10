//! Checked values.

pub(crate) mod click;
mod crawlers;
pub(crate) mod domains;
pub(crate) mod short_urls;
pub(crate) mod slugs;
pub(crate) mod targets;
pub(crate) mod times;
pub(crate) mod visitor;
