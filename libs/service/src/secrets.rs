//! Secret files that are replaced while the process runs: passwords rotate without a restart.
//!
//! [`Watch`] decides when a new text counts, as in the gateway. The whole configuration is then read
//! again; pools connect with another URL from then on, and the service takes what it named in
//! [`Service::ROTATED`]. A file that is missing or empty keeps its last value, and a configuration
//! that is refused changes nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use quartet_common::config::{
    ConfigError, ConfigTexts, LoadedConfig, Settings as Values, Sources, Watch,
};
use quartet_db::{Databases, RotateFailure};
use quartet_http::tls::ServiceTls;
use tokio::sync::watch;

use crate::service::{Service, Settings as _};

/// Time between two readings of the files.
const CHECK: Duration = Duration::from_secs(1);

/// What has to be done when a secret changes.
pub(crate) struct Rotation<S: Service> {
    pub(crate) databases: Databases,
    /// `None`: the service serves plain HTTP.
    pub(crate) tls: Option<ServiceTls>,
    /// The settings in force.
    pub(crate) settings: Values,
    /// Of the service, once it has been built.
    pub(crate) state: watch::Receiver<Option<S::State>>,
}

impl<S: Service> Rotation<S> {
    /// Reads the files for as long as the process runs.
    pub(crate) async fn run(
        mut self,
        files: Sources,
        load: impl Fn() -> Result<LoadedConfig<S::Config>, ConfigError>,
    ) {
        let files = Arc::new(files);
        let Ok(mut good) = files.read() else {
            // They were readable when the process started.
            tracing::error!(target: "quartet", "secret files cannot be read and are not watched");
            return;
        };
        if good == ConfigTexts::default() {
            return;
        }
        let mut watch = Watch::new(good.clone());
        let mut kept_before = Vec::new();
        // For the state, which is built while the database is awaited.
        let mut unseen = None;
        let mut refused = String::new();
        loop {
            tokio::time::sleep(CHECK).await;
            let (reading, last) = (Arc::clone(&files), good.clone());
            // On a thread of its own: a network file system may block.
            let read = tokio::task::spawn_blocking(move || reading.read_again(&last)).await;
            let Ok(Ok((texts, kept))) = read else {
                continue;
            };
            if kept != kept_before && !kept.is_empty() {
                tracing::warn!(target: "quartet", variables = kept.join(", "),
                    "secret file is missing or empty; its last value stays in force");
            }
            kept_before = kept;
            if let Some(texts) = watch.observe(texts, Instant::now()) {
                match self.reload(&load).await {
                    Ok(config) => {
                        (good, refused) = (texts, String::new());
                        unseen = Some(config);
                    }
                    Err(error) => {
                        report(&error, &mut refused);
                        // A password may reach the file before it reaches Postgres.
                        watch.request();
                    }
                }
            }
            if unseen.is_some()
                && let Some(state) = &*self.state.borrow()
                && let Some(config) = unseen.take()
            {
                S::rotate(state, &config);
            }
        }
    }

    /// Puts the secrets of a new configuration in force, and names what needs a restart.
    async fn reload(
        &mut self,
        load: &impl Fn() -> Result<LoadedConfig<S::Config>, ConfigError>,
    ) -> Result<S::Config, RotateFailure> {
        let loaded = load()?;
        let databases = self.databases.keys();
        let changed = self.settings.changed_keys(&loaded.settings);
        let of_databases = changed
            .iter()
            .filter(|key| databases.contains(&key.as_str()));
        let urls = of_databases.map(|key| {
            let url = loaded.settings.text(key).unwrap_or_default();
            (key.as_str(), url)
        });
        self.databases.rotate(&urls.collect::<Vec<_>>()).await?;
        let has_tls = self.tls.is_some();
        if let Some(tls) = &self.tls
            && changed.iter().any(|key| is_of_tls(key))
        {
            tls.replace(loaded.config.sections().server)?;
        }
        let mut restart = Vec::new();
        let mut rotated = Vec::new();
        for key in changed {
            if is_rotated::<S>(&databases, has_tls, &key) {
                rotated.push(key);
            } else if key != "telemetry.log" {
                restart.push(key);
            }
        }
        if !rotated.is_empty() {
            let settings = rotated.join(", ");
            tracing::info!(target: "quartet", settings, "changed secrets are in force");
        }
        if !restart.is_empty() {
            let settings = restart.join(", ");
            tracing::warn!(target: "quartet", settings, "changed settings take effect after a restart");
        }
        self.settings = loaded.settings;
        Ok(loaded.config)
    }
}

/// In one line for as long as the error is the same.
fn report(error: &RotateFailure, reported: &mut String) {
    let text = error.to_string();
    if text != *reported {
        tracing::error!(target: "quartet", error = text,
            "changed secret refused; the previous one stays in force");
        *reported = text;
    }
}

/// Whether a setting takes effect without a restart.
pub(crate) fn is_reloaded<S: Service>(databases: &Databases, has_tls: bool, key: &str) -> bool {
    key == "telemetry.log" || is_rotated::<S>(&databases.keys(), has_tls, key)
}

fn is_rotated<S: Service>(databases: &[&str], has_tls: bool, key: &str) -> bool {
    databases.contains(&key) || S::ROTATED.contains(&key) || (has_tls && is_of_tls(key))
}

fn is_of_tls(key: &str) -> bool {
    key.starts_with("server.tls_")
}
