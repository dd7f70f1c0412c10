//! SQL: a file per table, plain functions, checked queries.
//!
//! What belongs to a user is read and written in transactions of `quartet_db::begin_as`. The queries
//! name the owner as well, so that either check alone would be enough.

pub(crate) mod clicks;
pub(crate) mod domains;
pub(crate) mod link_filters;
pub(crate) mod link_lists;
pub(crate) mod links;
pub(crate) mod maintenance;
pub(crate) mod redirects;
pub(crate) mod salts;
