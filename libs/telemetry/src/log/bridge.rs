//! Carries warnings of libraries that use the `log` crate into this log.

use log::{LevelFilter, Log, Metadata, Record};

struct Bridge;

impl Log for Bridge {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        let text = record.args();
        let from = record.target();
        match record.level() {
            log::Level::Error => tracing::error!(target: "library", from, "{text}"),
            log::Level::Warn => tracing::warn!(target: "library", from, "{text}"),
            log::Level::Info | log::Level::Debug | log::Level::Trace => {}
        }
    }

    fn flush(&self) {}
}

/// Call it once, after the subscriber is installed. A logger that was set before stays.
pub(crate) fn bridge() {
    if log::set_logger(&Bridge).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}
