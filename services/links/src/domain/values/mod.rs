//! Checked values.

mod crawlers;
pub(crate) mod click;
pub(crate) mod slugs;
pub(crate) mod targets;
pub(crate) mod times;
pub(crate) mod visitor;
