//! Who may own things and act: a user, a service, later an organization.

use std::{fmt, sync::Arc};

const MAX_BYTES: usize = 255;

/// The name of someone who may own rows, such as `usr_...`: 1 to 255 bytes without control
/// characters, so that it can be a setting of Postgres. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal(Arc<str>);

/// A text that cannot name a principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to {MAX_BYTES} bytes and no control characters")]
pub struct InvalidPrincipal;

impl Principal {
    /// # Errors
    /// `InvalidPrincipal`.
    pub fn parse(text: &str) -> Result<Self, InvalidPrincipal> {
        let fits = (1..=MAX_BYTES).contains(&text.len());
        if fits && !text.chars().any(char::is_control) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidPrincipal)
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Principal({})", self.0)
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_printable() {
        for good in [
            "usr_1",
            "auth0|1",
            "o'neill",
            "{a,\"b\"}",
            "\u{fc}",
            &"x".repeat(255),
        ] {
            assert_eq!(Principal::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "a\0", "a\nb", "\u{85}", &"x".repeat(256)] {
            assert_eq!(Principal::parse(bad), Err(InvalidPrincipal), "{bad:?}");
        }
    }
}
