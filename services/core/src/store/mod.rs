//! SQL, checked at compile time, in plain functions.

pub(crate) mod api_keys;
pub(crate) mod emails;
pub(crate) mod passwords;
pub(crate) mod refresh_tokens;
pub(crate) mod revocations;
pub(crate) mod sessions;
pub(crate) mod signing_keys;
pub(crate) mod throttles;
pub(crate) mod users;
