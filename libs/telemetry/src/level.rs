//! Changing the log filter while the process runs.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use quartet_common::{cli::was_hung_up, config::ConfigError};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{EnvFilter, Registry, filter::LevelFilter, reload};

use crate::log::limit_bridge;

pub(crate) const KEY: &str = "telemetry.log";

/// The log filter of the process. Clones change the same one.
#[derive(Clone)]
pub struct LogLevel {
    handle: reload::Handle<EnvFilter, Registry>,
    /// The filter in force, as it was written.
    text: Arc<Mutex<String>>,
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogLevel").field(&self.get()).finish()
    }
}

impl LogLevel {
    /// The layer to put first into the subscriber, and the handle that changes it.
    pub(crate) fn new(
        filter: &str,
    ) -> Result<(reload::Layer<EnvFilter, Registry>, Self), ConfigError> {
        let parsed = parse(filter)?;
        limit_bridge(&parsed);
        let (layer, handle) = reload::Layer::new(parsed);
        let text = Arc::new(Mutex::new(filter.to_owned()));
        Ok((layer, Self { handle, text }))
    }

    /// The filter in force, such as `info,sqlx=debug`.
    pub fn get(&self) -> String {
        self.lock().clone()
    }

    /// Puts a filter in force: a level (`error`, `warn`, `info`, `debug`, `trace`, `off`), or
    /// several directives such as `info,sqlx=debug`.
    ///
    /// # Errors
    /// When the text is not a filter. The old one stays in force.
    pub fn set(&self, filter: &str) -> Result<(), ConfigError> {
        let parsed = parse(filter)?;
        let mut text = self.lock();
        if *text == filter {
            return Ok(());
        }
        // By the old filter if that shows it: the new one may silence the log.
        let shown = tracing::enabled!(target: "quartet", tracing::Level::INFO);
        let changed = || tracing::info!(target: "quartet", filter, "log filter changed");
        if shown {
            changed();
        }
        limit_bridge(&parsed);
        self.handle
            .reload(parsed)
            .map_err(|error| ConfigError::invalid(KEY, error.to_string()))?;
        filter.clone_into(&mut text);
        if !shown {
            changed();
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, String> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On every SIGHUP, reads the filter again and puts it in force. Other settings change with a
    /// restart only. Never returns, except when the signal cannot be handled.
    pub async fn reload_on_hangup(self, read: impl Fn() -> Result<String, ConfigError>) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => {
                tracing::error!(target: "quartet", %error, "SIGHUP cannot be handled");
                return;
            }
        };
        let mut is_due = was_hung_up() || hangup.recv().await.is_some();
        while is_due {
            if let Err(error) = read().and_then(|filter| self.set(&filter)) {
                tracing::error!(target: "quartet", %error, "log filter not changed");
            }
            is_due = hangup.recv().await.is_some();
        }
    }
}

/// Validates a filter without putting it in force.
///
/// # Errors
/// When the text is not a filter.
pub fn check_filter(filter: &str) -> Result<(), ConfigError> {
    parse(filter).map(drop)
}

/// A bare word that is not a level would be read as a target at level `trace`, which turns everything
/// else off: a misspelled level must not silence the log.
fn parse(filter: &str) -> Result<EnvFilter, ConfigError> {
    // The empty word parses as `error`.
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    let mut directives = filter.split(',').map(str::trim);
    let has_default = directives.clone().any(is_level);
    let is_known = |directive: &str| is_level(directive) || directive.contains(['=', '[']);
    if !has_default || !directives.all(is_known) {
        let rule = "must be a level (error, warn, info, debug, trace, off), or a level and \
                    directives such as `info,sqlx=debug`";
        return Err(ConfigError::invalid(KEY, rule));
    }
    EnvFilter::try_new(filter).map_err(|error| ConfigError::invalid(KEY, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_names_a_level_and_no_misspelled_one() {
        for good in [
            "info",
            "off",
            "INFO",
            "info,sqlx=debug",
            "sqlx=debug, warn",
            "info,[request]=debug",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "inof",
            "info,sqlx",
            "sqlx=debug",
            "info,",
            "info,a=loud",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
