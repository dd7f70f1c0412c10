//! Names of settings.

/// What the variables of all settings start with.
pub(super) const PREFIX: &str = "QUARTET_";

/// The environment of the process. What is not UTF-8 holds replacement characters, which no setting
/// accepts; `std::env::vars` would panic and print the value.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(move |(name, value)| (lossy(name), lossy(value)))
}

/// The environment variable of a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}
