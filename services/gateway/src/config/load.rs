//! Reads the configuration, at start and again for every reload.

use std::path::PathBuf;

#[cfg(test)]
use quartet_common::config::Environment;
use quartet_common::config::{self, ConfigError, ConfigTexts, Schema};

use super::{
    Config, DEFAULTS,
    model::Model,
    overlay::{Overlaid, validate_with},
    validate::validate,
};

const SCHEMA: Schema<'static> = Schema {
    defaults: &[DEFAULTS],
    open_tables: &[
        "acme.certificates",
        "issuers",
        "upstreams",
        "limits",
        "logins",
        "lookups",
        "caches",
        "sites",
        "certificates",
        "client_authorities",
        "cors",
        "routes",
    ],
    shipped: Some("shipped_routes"),
};

/// The file lost all its settings, which would put the default routes in force.
pub(crate) fn emptied() -> ConfigError {
    ConfigError::Syntax {
        origin: "configuration file".to_owned(),
        message: "is empty or has no setting; restart the gateway if this is intended".to_owned(),
    }
}

/// Where the configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources(config::Sources);

impl Sources {
    /// A file, and the environment of the process.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        Self(config::Sources::of_process(file))
    }

    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn read(&self) -> Result<ConfigTexts, ConfigError> {
        self.0.read()
    }

    /// As [`config::Sources::read_again`].
    pub(crate) fn read_again(
        &self,
        last: &ConfigTexts,
    ) -> Result<(ConfigTexts, Vec<String>), ConfigError> {
        self.0.read_again(last)
    }

    /// # Errors
    /// Every error.
    pub(crate) fn load(&self) -> Result<Config, ConfigError> {
        self.parse(&self.read()?)
    }

    /// As [`load`](Self::load), with the texts at hand.
    pub(crate) fn parse(&self, texts: &ConfigTexts) -> Result<Config, ConfigError> {
        self.parse_with(texts, None)
    }

    /// The same with what objects of a cluster add.
    pub(crate) fn parse_with(
        &self,
        texts: &ConfigTexts,
        overlaid: Option<Overlaid<'_>>,
    ) -> Result<Config, ConfigError> {
        let layers = self.0.layers(SCHEMA, texts)?;
        layers.read(|model: Model| {
            let settings = layers.settings();
            let result = match overlaid {
                Some(overlaid) => validate_with(model, &settings, overlaid),
                None => validate(model, settings),
            };
            result.map_err(|violations| {
                let violations = violations.into_iter();
                let errors = violations.map(|(key, message)| layers.invalid(&key, message));
                ConfigError::Several(errors.collect())
            })
        })
    }

    /// A configuration from one variable alone.
    #[cfg(test)]
    fn of_variable(name: &str, value: &str) -> Result<Config, ConfigError> {
        let environment = Environment::from([(name.to_owned(), value.to_owned())]);
        let sources = Self(config::Sources::new(None, environment));
        sources.parse(&ConfigTexts::default())
    }

    /// A configuration from the text of a file alone.
    #[cfg(test)]
    pub(crate) fn of_test(text: &str) -> Result<Config, ConfigError> {
        let file = Some("test.toml".into());
        let sources = Self(config::Sources::new(file, Environment::new()));
        sources.parse(&ConfigTexts::of_file(text))
    }

    /// The same with what objects of a cluster add.
    #[cfg(all(test, feature = "kubernetes"))]
    pub(crate) fn of_test_with(text: &str, overlaid: Overlaid<'_>) -> Result<Config, ConfigError> {
        let file = Some("test.toml".into());
        let sources = Self(config::Sources::new(file, Environment::new()));
        sources.parse_with(&ConfigTexts::of_file(text), Some(overlaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_bounded() {
        let load = |name: &str, value: &str| Sources::of_variable(name, value).map(drop);
        let accepted = quartet_testing::accepted_numbers(&[DEFAULTS], load);
        assert!(accepted.is_empty(), "{accepted:#?}");
    }

    /// The keys of upstreams have no defaults in the file; a table in a comment describes them.
    #[test]
    fn bounds_of_upstreams_are_documented() {
        let (_, table) = DEFAULTS.split_once("# Upstreams.").unwrap();
        let (table, _) = table.split_once("[upstreams.core]").unwrap();
        let mut rows: Vec<(&str, String)> = Vec::new();
        for line in table.lines().filter_map(|line| line.strip_prefix("#   ")) {
            match (line.split_once(' '), rows.last_mut()) {
                (Some((name, text)), _) if !name.is_empty() => rows.push((name, text.to_owned())),
                (_, Some((_, text))) => text.push_str(line),
                (_, None) => {}
            }
        }
        let is_bounded = |(name, text): &(&str, String)| {
            let file = format!("[upstreams.core]\n{name} = 4294967295\n");
            let error = Sources::of_test(&file).unwrap_err().to_string();
            let Some((_, bounds)) = error.split_once("must be between ") else {
                return false;
            };
            let bounds = bounds.lines().next().unwrap();
            let (min, max) = bounds.split_once(" and ").unwrap();
            let named = [min, "min_eject_ms"].map(|min| text.contains(&format!("{min} to {max}")));
            assert!(named.contains(&true), "{name}: {bounds}: {text}");
            true
        };
        let bounded = rows.iter().filter(|row| is_bounded(row)).count();
        assert_eq!(bounded, 15);
    }
}
