use std::{path::PathBuf, time::Duration};

/// What `top` shows, and where it finds it.
#[derive(Clone, Debug)]
pub struct TopOptions {
    /// Of the admin listener. `None`: as the configuration says.
    pub url: Option<String>,
    /// `None`: the first token of the configuration.
    pub token_file: Option<PathBuf>,
    /// Certificates in PEM of the authorities that the listener's certificate may be from.
    pub authority_file: Option<PathBuf>,
    /// A client certificate and its key, in PEM.
    pub certificate_files: Option<(PathBuf, PathBuf)>,
    pub interval: Duration,
    /// Print one report and end.
    pub once: bool,
}
