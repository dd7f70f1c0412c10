//! Policies: what is decided about a request before it is forwarded, and added to its response.
//!
//! Each is one file with its own settings. They know nothing of pingora or of each other: they see
//! the [`RequestFacts`](crate::request::RequestFacts) of a request, and either let it continue or answer it with
//! any response. What they change about the request is data ([`Edit`]), applied once when the
//! upstream's request is written. A route has a [`Chain`] of those that it needs.

mod access_end;
mod auth;
mod body_limit;
mod buffered;
mod cache;
mod caching;
mod chain;
mod checks;
mod claim_headers;
mod client_certificate;
mod compression;
mod context;
mod cors;
mod decoder;
mod decompression;
mod describe;
mod edits;
mod fault;
mod fetch;
mod flow;
mod forward_auth;
mod grpc_calls;
mod grpc_web;
pub(crate) mod headers;
pub(crate) mod https_redirect;
mod invalidation;
mod invalidator;
mod lifecycle;
mod login;
mod login_context;
mod lookup;
mod maintenance;
mod mirror;
mod network_access;
pub(crate) mod rate_limit;
mod redirect;
mod redirect_parts;
mod respond;
mod security_headers;
mod shares;
mod site;
mod split;
mod upgrade;
mod validated;
mod validation;
mod verify;

pub(crate) use access_end::AccessEnd;
pub(crate) use auth::{AccessParts, SessionCheck};
pub(crate) use chain::{Chain, ChainParts};
pub(crate) use claim_headers::ClaimNames;
pub(crate) use context::PolicyContext;
pub(crate) use fetch::{ReceivedResponse, body_length};
pub(crate) use flow::{Edit, Flow, ResponseHead};
pub(crate) use validation::ValidationParts;
