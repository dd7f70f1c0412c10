//! The files that a configuration comes from, at start and read again while the process runs.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use super::{
    ConfigError, Environment, Layers, Schema, environment, key::PREFIX, layers::has_settings, read,
};

/// Where the configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    file: Option<PathBuf>,
    environment: Environment,
}

/// The text of every file that the configuration comes from.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConfigTexts {
    /// Empty without a file.
    file: String,
    /// By the `*_FILE` variable that names the file.
    secrets: BTreeMap<String, String>,
}

impl fmt::Debug for ConfigTexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigTexts").finish_non_exhaustive()
    }
}

impl ConfigTexts {
    /// The text of a configuration file, without secrets.
    pub fn of_file(text: &str) -> Self {
        Self {
            file: text.to_owned(),
            secrets: BTreeMap::new(),
        }
    }

    /// Whether `later` lost all settings of its file: it is being written, or was emptied by mistake.
    /// Without the file, the defaults would be in force.
    pub fn is_emptied_by(&self, later: &Self) -> bool {
        has_settings(&self.file) && !has_settings(&later.file)
    }
}

impl Sources {
    pub fn new(file: Option<PathBuf>, environment: Environment) -> Self {
        Self { file, environment }
    }

    /// A file, and the environment of the process.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        Self::new(file, environment().collect())
    }

    /// Only the files with one value each, which are replaced while the process runs.
    #[must_use]
    pub fn secrets(&self) -> Self {
        Self::new(None, self.environment.clone())
    }

    /// # Errors
    /// When a file cannot be read.
    pub fn read(&self) -> Result<ConfigTexts, ConfigError> {
        self.read_again(&ConfigTexts::default())
            .map(|(texts, _)| texts)
    }

    /// The texts, and the variables whose file is missing or empty although it was not before. Of
    /// these the last text is kept: a secret is often replaced by deleting and creating its file.
    ///
    /// # Errors
    /// When the configuration file cannot be read, or a secret that has never been read.
    pub fn read_again(
        &self,
        last: &ConfigTexts,
    ) -> Result<(ConfigTexts, Vec<String>), ConfigError> {
        let mut texts = ConfigTexts::default();
        let mut kept = Vec::new();
        if let Some(file) = &self.file {
            texts.file = read(file, None)?;
        }
        let is_secret = |name: &str| name.starts_with(PREFIX) && name.ends_with("_FILE");
        for (variable, path) in self.environment.iter().filter(|(name, _)| is_secret(name)) {
            if path.is_empty() {
                continue;
            }
            let known = last.secrets.get(variable);
            let text = match (read(Path::new(path), Some(variable)), known) {
                (Ok(text), Some(known)) if text.trim().is_empty() && !known.trim().is_empty() => {
                    kept.push(variable.clone());
                    known.clone()
                }
                (Ok(text), _) => text,
                (Err(_), Some(known)) => {
                    kept.push(variable.clone());
                    known.clone()
                }
                (Err(error), None) => return Err(error),
            };
            texts.secrets.insert(variable.clone(), text);
        }
        Ok((texts, kept))
    }

    /// All layers, with the texts at hand.
    ///
    /// # Errors
    /// As [`Layers::merge`].
    pub fn layers<'t>(
        &'t self,
        schema: Schema<'_>,
        texts: &'t ConfigTexts,
    ) -> Result<Layers<'t>, ConfigError> {
        let file = self.file.as_deref().map(|path| (path, texts.file.as_str()));
        let secret = |path: &Path, variable: &str| match texts.secrets.get(variable) {
            Some(text) => Ok(text.clone()),
            None => read(path, Some(variable)),
        };
        Layers::merge_with(schema, file, &self.environment, &secret)
    }
}
