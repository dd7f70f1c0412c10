//! The rules: who may become a user, who is let in, and what keeps them in.

pub(crate) mod desk;
pub(crate) mod display_name;
pub(crate) mod email;
mod guessing;
pub(crate) mod hasher;
pub(crate) mod keys;
pub(crate) mod password;
pub(crate) mod secrets;
pub(crate) mod sessions;
pub(crate) mod throttle;
pub(crate) mod tokens;
pub(crate) mod users;
