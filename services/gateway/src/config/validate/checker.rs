//! Collects violations.

pub(super) const DAY_SECONDS: u64 = 86_400;

/// Violations as pairs of key and message.
pub(in crate::config) type Violations = Vec<(String, String)>;

/// Collects violations while values are converted.
#[derive(Default)]
pub(super) struct Checker(Violations);

impl Checker {
    pub(super) fn error(&mut self, key: impl Into<String>, message: impl Into<String>) {
        let violation = (key.into(), message.into());
        // What the defaults say is checked for each route that has them.
        if !self.0.contains(&violation) {
            self.0.push(violation);
        }
    }

    /// The value, unless it is invalid.
    pub(super) fn ok<T>(&mut self, key: &str, parsed: Result<T, String>) -> Option<T> {
        parsed.map_err(|message| self.error(key, message)).ok()
    }

    pub(super) fn range(&mut self, key: &str, value: u64, low: u64, high: u64) {
        if !(low..=high).contains(&value) {
            self.error(key, format!("must be between {low} and {high}"));
        }
    }

    /// Checks several settings of one table.
    pub(super) fn ranges(&mut self, table: &str, settings: &[(&str, u64, u64, u64)]) {
        for &(name, value, low, high) in settings {
            self.range(&format!("{table}.{name}"), value, low, high);
        }
    }

    pub(super) fn name(&mut self, key: &str, name: &str) {
        let is_allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty() || !name.bytes().all(is_allowed) {
            let message = "names consist of lower-case letters, digits and underscores";
            self.error(key, message);
        }
    }

    /// # Errors
    /// Every violation.
    pub(super) fn finish(self) -> Result<(), Violations> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(self.0)
        }
    }
}
