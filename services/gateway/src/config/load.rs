//! Reads the configuration, at start and again for every reload.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

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

impl ConfigErrors {
    /// The file lost all its settings, which would put the default routes in force.
    pub(crate) fn emptied() -> Self {
        ConfigError::Syntax {
            origin: "configuration file".to_owned(),
            message: "is empty or has no setting; restart the gateway if this is intended"
                .to_owned(),
        }
        .into()
    }
}

/// Where the configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    file: Option<PathBuf>,
    environment: Environment,
}

/// The text of every file that the configuration comes from.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Texts {
    /// Empty without a file.
    file: String,
    /// By the `*_FILE` variable that names the file.
    secrets: BTreeMap<String, String>,
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Texts").finish_non_exhaustive()
    }
}

impl Texts {
    /// Whether `later` lost all settings of its file: it is being written, or was emptied by mistake.
    /// Without the file, the default routes would be in force.
    pub(crate) fn is_emptied_by(&self, later: &Self) -> bool {
        has_settings(&self.file) && !has_settings(&later.file)
    }

    #[cfg(test)]
    pub(crate) fn of_test(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            secrets: BTreeMap::new(),
        }
    }
}

/// Whether a file has any key but comments and empty tables. What cannot be parsed is not empty: it
/// has an error of its own.
fn has_settings(file: &str) -> bool {
    fn has_value(value: &toml::Value) -> bool {
        let Some(table) = value.as_table() else {
            return true;
        };
        table.values().any(has_value)
    }
    let table: Result<toml::Table, _> = file.parse();
    table.map_or(true, |table| table.values().any(has_value))
}

impl Sources {
    /// A file, and the environment of the process.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        Self {
            file,
            environment: config::environment().collect(),
        }
    }

    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn read(&self) -> Result<Texts, ConfigErrors> {
        self.read_again(&Texts::default()).map(|(texts, _)| texts)
    }

    /// The texts, and the variables whose file is missing or empty although it was not before. Of
    /// these the last text is kept: a secret is often replaced by deleting and creating its file.
    ///
    /// # Errors
    /// When the configuration file cannot be read, or a secret that has never been read.
    pub(crate) fn read_again(&self, last: &Texts) -> Result<(Texts, Vec<String>), ConfigErrors> {
        let mut texts = Texts::default();
        let mut kept = Vec::new();
        if let Some(file) = &self.file {
            texts.file = config::read(file, None)?;
        }
        let is_secret = |name: &str| name.starts_with("QUARTET_") && name.ends_with("_FILE");
        for (variable, path) in self.environment.iter().filter(|(name, _)| is_secret(name)) {
            if path.is_empty() {
                continue;
            }
            let known = last.secrets.get(variable);
            let text = match (config::read(Path::new(path), Some(variable)), known) {
                (Ok(text), Some(known)) if text.trim().is_empty() && !known.trim().is_empty() => {
                    kept.push(variable.clone());
                    known.clone()
                }
                (Ok(text), _) => text,
                (Err(_), Some(known)) => {
                    kept.push(variable.clone());
                    known.clone()
                }
                (Err(error), None) => return Err(error.into()),
            };
            texts.secrets.insert(variable.clone(), text);
        }
        Ok((texts, kept))
    }

    /// # Errors
    /// Every error of the first kind that is found: syntax, types, rules.
    pub(crate) fn load(&self) -> Result<Config, ConfigErrors> {
        self.parse(&self.read()?)
    }

    /// As [`load`](Self::load), with the texts at hand.
    pub(crate) fn parse(&self, texts: &Texts) -> Result<Config, ConfigErrors> {
        let file = self.file.as_deref();
        let file = file.map(|path: &Path| (path, texts.file.as_str()));
        let secret = |path: &Path, variable: &str| match texts.secrets.get(variable) {
            Some(text) => Ok(text.clone()),
            None => config::read(path, Some(variable)),
        };
        let layers = Layers::merge_with(SCHEMA, file, &self.environment, &secret)?;
        let model: Model = layers.deserialize()?;
        validate(model, layers.settings()).map_err(|violations| {
            let violations = violations.into_iter();
            ConfigErrors(
                violations
                    .map(|(key, message)| layers.invalid(&key, message))
                    .collect(),
            )
        })
    }

    /// A configuration from one variable alone.
    #[cfg(test)]
    fn of_variable(name: &str, value: &str) -> Result<Config, ConfigErrors> {
        let sources = Self {
            file: None,
            environment: Environment::from([(name.to_owned(), value.to_owned())]),
        };
        sources.parse(&Texts::default())
    }

    /// A configuration from the text of a file alone.
    #[cfg(test)]
    pub(crate) fn of_test(text: &str) -> Result<Config, ConfigErrors> {
        let sources = Self {
            file: Some("test.toml".into()),
            environment: Environment::new(),
        };
        sources.parse(&Texts::of_test(text))
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
}
