//! Reads the settings by their types, and checks rules, so that one start shows every error.
//!
//! serde ends at the first value that does not fit. So the error is noted, the default takes the place of
//! the value, and all is read again, until it can be read. Rules then see settings that are not
//! configured: what they find about a value at fault, or in comparison with one, is left aside. Where there
//! is no default, as for a route of the operator's, the entry is removed, and rules are not checked, because
//! others may refer to it. Nothing is handed on while there is an error.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{
    error::ConfigError,
    key::similar,
    layers::{Layers, Unmerged},
    source::steps,
};
use crate::wording;

/// Of one reading.
const MAX_ERRORS: usize = 100;

impl Layers<'_> {
    /// Hands on what `rules` makes of the settings. They must have no effect: they also see settings in
    /// which defaults stand in for values at fault.
    ///
    /// # Errors
    /// Every key that does not exist, every value that does not fit its type, and every broken rule.
    pub fn read<T: DeserializeOwned, U>(
        &self,
        rules: impl FnOnce(T) -> Result<U, ConfigError>,
    ) -> Result<U, ConfigError> {
        let mut errors: Vec<ConfigError> =
            self.unmerged.iter().map(|one| self.error(one)).collect();
        let mut at_fault: BTreeSet<String> =
            self.unmerged.iter().filter_map(Unmerged::key).collect();
        let read = self.typed(&mut errors, &mut at_fault);
        if let Some(read) = read {
            match rules(read) {
                Ok(value) if errors.is_empty() => return Ok(value),
                Ok(_) => {}
                Err(broken) => errors.extend(
                    broken
                        .each()
                        .into_iter()
                        .filter(|error| !is_about(error, &at_fault))
                        .map(|error| self.located(error)),
                ),
            }
        }
        errors.truncate(MAX_ERRORS);
        let all = ConfigError::of(errors);
        Err(all.expect("what could not be read has left an error"))
    }

    /// The settings by their types, with defaults for values at fault. `None`: one of these has no default.
    fn typed<T: DeserializeOwned>(
        &self,
        errors: &mut Vec<ConfigError>,
        at_fault: &mut BTreeSet<String>,
    ) -> Option<T> {
        let mut settings = self.settings.clone();
        let mut is_whole = true;
        for _ in 0..2 * MAX_ERRORS {
            let error = match serde_path_to_error::deserialize(settings.clone()) {
                Ok(read) => return is_whole.then_some(read),
                Err(error) => error,
            };
            let fault = wording::fault(error.inner().message().trim());
            let mut key = error.path().to_string();
            if key == "." {
                key.clear();
            }
            if let Some(member) = fault.member
                && (fault.code == "missing" || key.rsplit('.').next() != Some(member))
            {
                let point = if key.is_empty() { "" } else { "." };
                key = format!("{key}{point}{member}");
            }
            let steps = steps(&key);
            // A value without a default is removed. Should its key be missing then, its table is.
            let mut place = steps.as_slice();
            if at_fault.insert(key.clone()) {
                let rule = fault.rule.replace("must be an object", "must be a table");
                errors.push(self.invalid(&key, rule));
            } else {
                place = place.split_last().map_or(place, |(_, table)| table);
            }
            let is_replaced = reset(&mut settings, &self.defaults, place);
            is_whole &= is_replaced || fault.code == "unknown";
        }
        None
    }

    fn error(&self, unmerged: &Unmerged) -> ConfigError {
        match unmerged {
            Unmerged::Unknown { origin, key } => ConfigError::Unknown {
                origin: origin.clone(),
                key: key.clone(),
                similar: similar(key, &self.defaults),
            },
            Unmerged::Invalid { key, message } => self.invalid(key, message.clone()),
        }
    }

    /// Names where the value of a broken rule comes from. What is not set is set by its variable.
    fn located(&self, error: ConfigError) -> ConfigError {
        match error {
            ConfigError::Invalid { key, message, .. } if self.is_set(&key) => {
                self.invalid(&key, message)
            }
            other => other,
        }
    }
}

/// Whether a broken rule is about a value that is not known, or compares with one.
fn is_about(error: &ConfigError, at_fault: &BTreeSet<String>) -> bool {
    let ConfigError::Invalid { key, message, .. } = error else {
        return false;
    };
    let is_in = |fault: &str| {
        let rest = fault.strip_prefix(key.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || ['_', '.'].contains(&c);
    let words = message
        .split(|c| !is_name(c))
        .map(|word| word.trim_end_matches('.'));
    at_fault.iter().any(|fault| is_in(fault))
        || words.into_iter().any(|word| at_fault.contains(word))
}

/// Replaces the deepest part of a key that the defaults have by its default. `false`: there is none, and
/// the key is removed, or its table where the key is missing.
fn reset(settings: &mut Table, defaults: &Table, key: &[String]) -> bool {
    let Some((name, rest)) = key.split_first() else {
        return false;
    };
    match (settings.get_mut(name), defaults.get(name), rest) {
        (Some(Value::Table(own)), Some(Value::Table(defaults)), [_, ..]) => {
            reset(own, defaults, rest)
        }
        (_, Some(default), _) => {
            settings.insert(name.clone(), default.clone());
            true
        }
        (Some(Value::Table(own)), None, [next, ..]) if own.contains_key(next) => {
            reset(own, &Table::new(), rest)
        }
        (_, None, _) => {
            settings.remove(name);
            false
        }
    }
}
