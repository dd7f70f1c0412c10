//! Who calls: verification of access tokens, and the extractor that demands one.

mod caller;
pub mod jwt;

pub use caller::{Caller, bearer_token};
