//! Validation that returns the checked values, or every violation at once.
//!
//! ```
//! # use quartet_common::{checks::{Checks, Violation}, problem::Rule};
//! # struct NewUser { email: String, name: Option<String> }
//! # fn email(text: &str) -> Result<String, Rule> { Ok(text.to_owned()) }
//! # fn name(text: &str) -> Result<String, Rule> { Ok(text.to_owned()) }
//! # type Violations = Vec<Violation<&'static str>>;
//! # fn check(raw_email: &str, raw_name: Option<&str>) -> Result<NewUser, Violations> {
//! let mut checks = Checks::new();
//! let email = checks.take("/email", email(raw_email));
//! let name = checks.take_optional("/name", raw_name.map(name));
//! checks.finish(|| Some(NewUser { email: email?, name }))
//! # }
//! ```

use crate::problem::{FieldError, Rule};

/// A field that breaks a rule. `F` identifies the field: a JSON pointer in the API, an enum in a
/// domain that knows no JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation<F> {
    pub field: F,
    pub rule: Rule,
}

/// Collects the violations of one input, so that a client learns of all at once.
#[derive(Debug)]
pub struct Checks<F>(Vec<Violation<F>>);

impl<F> Default for Checks<F> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<F> Checks<F> {
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the value, or records that `field` breaks a rule.
    pub fn take<T>(&mut self, field: F, parsed: Result<T, Rule>) -> Option<T> {
        parsed
            .map_err(|rule| self.0.push(Violation { field, rule }))
            .ok()
    }

    /// The same for a field that may be absent.
    pub fn take_optional<T>(&mut self, field: F, parsed: Option<Result<T, Rule>>) -> Option<T> {
        self.take(field, parsed?)
    }

    /// Returns what `build` makes of the checked values. It returns `None` only when a required
    /// field is invalid, which it need not handle: `email: email?`.
    ///
    /// # Errors
    /// Every violation.
    pub fn finish<T>(self, build: impl FnOnce() -> Option<T>) -> Result<T, Vec<Violation<F>>> {
        match build() {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self.0),
        }
    }
}

/// The field is a JSON pointer.
impl From<Violation<&'static str>> for FieldError {
    fn from(Violation { field, rule }: Violation<&'static str>) -> Self {
        Self::body(field, rule.code, rule.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_violations_are_reported_and_nothing_is_built() {
        let rule = |code| Rule::new(code, "must be better");
        let mut checks = Checks::new();
        let a: Option<u8> = checks.take("/a", Err(rule("a")));
        let b = checks.take("/b", Ok(1_u8));
        let c: Option<u8> = checks.take_optional("/c", Some(Err(rule("c"))));
        let violations = checks.finish(|| Some((a?, b?, c))).unwrap_err();
        let fields: Vec<&str> = violations.iter().map(|one| one.field).collect();
        assert_eq!(fields, ["/a", "/c"]);
        let errors: Vec<FieldError> = violations.into_iter().map(FieldError::from).collect();
        assert_eq!(errors[1].pointer.as_deref(), Some("/c"));
    }

    #[test]
    fn an_invalid_optional_field_is_not_dropped_silently() {
        let mut checks = Checks::new();
        let name: Option<u8> = checks.take_optional("/name", Some(Err(Rule::new("x", "y"))));
        assert!(checks.finish(|| Some(name)).is_err());
        let mut checks = Checks::new();
        let name: Option<u8> = checks.take_optional("/name", None);
        assert_eq!(checks.finish(|| Some(name)).unwrap(), None);
    }
}
