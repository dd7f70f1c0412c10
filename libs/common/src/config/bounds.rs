//! Bounds of numbers, and of what a URL may be.

use std::{fmt::Display, ops::RangeInclusive};

use url::Url;

use super::error::ConfigError;

/// Requires a number to be within its bounds; `key` is the setting that holds it.
///
/// # Errors
/// [`ConfigError::Invalid`] with the bounds.
pub fn within<T: PartialOrd + Display>(
    key: &str,
    value: T,
    bounds: RangeInclusive<T>,
) -> Result<(), ConfigError> {
    if bounds.contains(&value) {
        return Ok(());
    }
    let (min, max) = (bounds.start(), bounds.end());
    Err(ConfigError::invalid(
        key,
        format!("must be between {min} and {max}"),
    ))
}

/// Requires a number to be at least `min`.
///
/// # Errors
/// [`ConfigError::Invalid`] with the bound.
pub fn at_least<T: PartialOrd + Display>(key: &str, value: T, min: T) -> Result<(), ConfigError> {
    if value >= min {
        return Ok(());
    }
    Err(ConfigError::invalid(key, format!("must be at least {min}")))
}

/// Requires a URL to be one that requests can be sent to.
///
/// # Errors
/// [`ConfigError::Invalid`] with the schemes.
pub fn http(key: &str, url: &Url) -> Result<(), ConfigError> {
    if matches!(url.scheme(), "http" | "https") {
        return Ok(());
    }
    Err(ConfigError::invalid(
        key,
        "must begin with http:// or https://",
    ))
}
