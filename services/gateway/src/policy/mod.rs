//! Policies: what is decided about a request before it is forwarded, and added to its response.
//!
//! Each is one file with its own settings. They know nothing of pingora or of each other: they see
//! the [`RequestFacts`](crate::request::RequestFacts) of a request, and either let it continue or answer it with
//! any response. What they change about the request is data ([`Edit`]), applied once when the
//! upstream's request is written. A route has a [`Chain`] of those that it needs.

mod auth;
mod body_limit;
mod chain;
mod context;
mod edits;
pub(crate) mod headers;
pub(crate) mod rate_limit;
mod redirect;
mod upgrade;

pub(crate) use chain::Chain;
pub(crate) use context::{Edit, Flow, PolicyContext, ResponseHead};
