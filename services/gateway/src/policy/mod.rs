//! Policies: what is decided about a request before it is forwarded, and added to its response.
//!
//! They know nothing of pingora or of each other. They see the request head, the route and the
//! client IP, and either let the request continue or respond with a problem.

mod auth;
mod body_limit;
mod chain;
mod context;
pub(crate) mod headers;
pub(crate) mod rate_limit;

pub(crate) use chain::Chain;
pub(crate) use context::{PolicyContext, RequestView, ResponseHead};
