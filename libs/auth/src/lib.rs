//! Verification of access tokens, the actor that one proves, the signature of requests between services,
//! and the encryption of stored secrets.
//!
//! The gateway and every service verify tokens themselves: identity headers are never trusted.
//! Issuing tokens is core's business, and the names of permissions are up to each service.

mod actor;
mod extract;
pub mod jwt;
pub mod master_key;
pub mod opaque;
pub mod signature;

pub use actor::{Actor, Assurance, Forbidden, Permission, TokenKind};
pub use extract::bearer_token;
