//! Secrets: password hashes, the master key, and the keys that sign access tokens.

mod gate;
pub(crate) mod hasher;
mod lanes;
pub(crate) mod signing_keys;
mod slots;

pub(crate) use quartet_auth::master_key;
