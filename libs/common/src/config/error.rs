//! What is wrong with a configuration.

use std::path::PathBuf;

use super::key::variable;

/// One error in the configuration, in one line that names the key and where its value comes from.
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
    #[error("{origin}: unknown setting `{key}`")]
    Unknown { origin: String, key: String },
    #[error("setting `{key}` ({origin}): {message}")]
    Invalid {
        key: String,
        /// A variable, or a file with line and column.
        origin: String,
        message: String,
    },
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
}
