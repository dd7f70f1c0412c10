//! Verification of access tokens, and the extractor that requires one.
//!
//! The gateway and every service verify tokens themselves: identity headers are never trusted.
//! Issuing tokens is core's business, and permissions are up to each service.

mod caller;
pub mod jwt;

pub use caller::{Caller, bearer_token};
