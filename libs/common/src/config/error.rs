//! What is wrong with a configuration.

use std::path::PathBuf;

use super::key::variable;

/// Errors in the configuration, each in a line that names the key and where its value comes from.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{origin}cannot read {path}: {source}")]
    Read {
        /// The variable that names the file, with a colon; empty for the configuration file.
        origin: String,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{origin}: {message}")]
    Syntax { origin: String, message: String },
    #[error("{origin}: unknown setting `{key}`{}", guess(.similar.as_deref()))]
    Unknown {
        origin: String,
        key: String,
        /// What was probably meant.
        similar: Option<String>,
    },
    #[error("setting `{key}` ({origin}): {message}")]
    Invalid {
        key: String,
        /// A variable, or a file with line and column.
        origin: String,
        message: String,
    },
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<ConfigError>),
}

impl ConfigError {
    /// For rules that a type cannot express.
    pub fn invalid(key: &str, message: impl Into<String>) -> Self {
        Self::Invalid {
            key: key.into(),
            origin: variable(key),
            message: message.into(),
        }
    }

    /// One error for all of them; `None` if there is none.
    pub fn of(errors: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut all: Vec<Self> = errors.into_iter().flat_map(Self::each).collect();
        match all.len() {
            0 | 1 => all.pop(),
            _ => Some(Self::Several(all)),
        }
    }

    /// The errors that it consists of.
    pub fn each(self) -> Vec<Self> {
        match self {
            Self::Several(errors) => errors,
            one => vec![one],
        }
    }
}

fn guess(similar: Option<&str>) -> String {
    similar.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// Whether all rules hold.
///
/// # Errors
/// Every rule that is broken, not just the first.
pub fn all(rules: impl IntoIterator<Item = Result<(), ConfigError>>) -> Result<(), ConfigError> {
    match ConfigError::of(rules.into_iter().filter_map(Result::err)) {
        None => Ok(()),
        Some(errors) => Err(errors),
    }
}
