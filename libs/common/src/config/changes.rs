//! Which settings differ between two versions of a configuration.

use std::{collections::BTreeSet, fmt};

use toml::{Table, Value};

/// Every setting with its value. Values may be secrets, so they are never printed.
#[derive(Clone, Default)]
pub struct Settings {
    pub(super) table: Table,
    passed_over: Vec<String>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(leaves(&self.table, "")).finish()
    }
}

impl Settings {
    pub(super) fn new(table: Table, passed_over: Vec<String>) -> Self {
        Self { table, passed_over }
    }

    /// The variables of Kubernetes services that look like settings and are not.
    pub fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    /// The text of a setting; `None` if it is not text. It may be a secret.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.value(key)?.as_str()
    }

    /// The keys of all settings.
    pub fn keys(&self) -> Vec<String> {
        leaves(&self.table, "")
    }

    /// The keys whose values differ, and those that only one of the two has.
    pub fn changed_keys(&self, other: &Self) -> Vec<String> {
        let keys: BTreeSet<String> = self.keys().into_iter().chain(other.keys()).collect();
        let changed = keys.into_iter();
        changed
            .filter(|key| self.value(key) != other.value(key))
            .collect()
    }

    fn value(&self, key: &str) -> Option<&Value> {
        let mut parts = key.split('.');
        let first = self.table.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    }
}

/// The keys of all values that are not tables.
pub(super) fn leaves(table: &Table, prefix: &str) -> Vec<String> {
    table
        .iter()
        .flat_map(|(name, value)| match value {
            Value::Table(inner) => leaves(inner, &format!("{prefix}{name}.")),
            _ => vec![format!("{prefix}{name}")],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_added_and_removed_keys_are_named_and_values_are_not_shown() {
        let settings = |text: &str| Settings::new(text.parse().unwrap(), Vec::new());
        let before = settings("a = 1\nb = 2\n[t.u]\nsecret = \"x\"\nsame = [1]\n");
        let after = settings("a = 1\nc = 2\n[t.u]\nsecret = \"y\"\nsame = [1]\n");
        assert_eq!(before.changed_keys(&after), ["b", "c", "t.u.secret"]);
        assert!(before.changed_keys(&before).is_empty());
        assert_eq!(
            format!("{before:?}"),
            "{\"a\", \"b\", \"t.u.same\", \"t.u.secret\"}"
        );
    }
}
