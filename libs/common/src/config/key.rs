//! Names of settings.

/// What the variables of all settings start with.
pub(super) const PREFIX: &str = "QUARTET_";

/// The environment variable of a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}
