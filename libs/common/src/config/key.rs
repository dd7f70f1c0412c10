//! Names of settings.

/// What the variables of all settings start with.
pub(super) const PREFIX: &str = "QUARTET_";

/// The variable that sets this key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}
