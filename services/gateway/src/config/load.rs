//! Reads the configuration, at start and again for every reload.

use std::path::{Path, PathBuf};

use quartet_common::config::{self, ConfigError, Environment, Layers, Schema};

use super::{Config, DEFAULTS, model::Model, validate::validate};

const SCHEMA: Schema<'static> = Schema {
    defaults: &[DEFAULTS],
    open_tables: &["upstreams", "limits", "routes"],
    shipped: Some("shipped_routes"),
};

/// Every error that was found, one per line.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub(crate) struct ConfigErrors(Vec<ConfigError>);

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

/// Where the configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    file: Option<PathBuf>,
    environment: Environment,
}

impl Sources {
    /// A file, and the environment of the process.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        Self {
            file,
            environment: config::environment().collect(),
        }
    }

    /// The file's text; empty without a file.
    pub(crate) fn read(&self) -> Result<String, ConfigErrors> {
        match &self.file {
            Some(file) => Ok(config::read(file, None)?),
            None => Ok(String::new()),
        }
    }

    /// # Errors
    /// Every error of the first kind that is found: syntax, types, rules.
    pub(crate) fn load(&self) -> Result<Config, ConfigErrors> {
        self.load_text(&self.read()?)
    }

    /// As [`load`](Self::load), with the file's text at hand.
    pub(crate) fn load_text(&self, text: &str) -> Result<Config, ConfigErrors> {
        let file = self.file.as_deref().map(|path: &Path| (path, text));
        let layers = Layers::merge(SCHEMA, file, &self.environment)?;
        let model: Model = layers.deserialize()?;
        validate(model).map_err(|violations| {
            let violations = violations.into_iter();
            ConfigErrors(
                violations
                    .map(|(key, message)| layers.invalid(&key, message))
                    .collect(),
            )
        })
    }

    /// A configuration from the text of a file alone.
    #[cfg(test)]
    pub(crate) fn of_test(text: &str) -> Result<Config, ConfigErrors> {
        let sources = Self {
            file: Some("test.toml".into()),
            environment: Environment::new(),
        };
        sources.load_text(text)
    }
}
