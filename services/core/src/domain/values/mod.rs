//! Values that are valid once they exist.

pub(crate) mod api_key;
pub(crate) mod display_name;
pub(crate) mod email;
pub(crate) mod password;
mod password_strength;
pub(crate) mod refresh_token;
