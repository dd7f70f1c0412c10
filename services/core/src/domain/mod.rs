//! The rules: who may sign up, who may log in, and how long a session lasts.

pub(crate) mod api_keys;
pub(crate) mod context;
pub(crate) mod crypto;
pub(crate) mod revocations;
pub(crate) mod sessions;
pub(crate) mod throttle;
pub(crate) mod users;
pub(crate) mod values;

pub(crate) use context::Context;
