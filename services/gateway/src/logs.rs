//! Forwards warnings of libraries that use the `log` crate to the gateway's log.

use log::{Level, LevelFilter, Log, Metadata, Record};

struct Bridge;

impl Log for Bridge {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        let text = record.args().to_string();
        let from = record.target();
        match record.level() {
            Level::Error => tracing::error!(target: "library", from, "{text}"),
            Level::Warn => tracing::warn!(target: "library", from, "{text}"),
            Level::Info | Level::Debug | Level::Trace => {}
        }
    }

    fn flush(&self) {}
}

static BRIDGE: Bridge = Bridge;

/// Must be called once, after telemetry was initialized.
pub(crate) fn bridge() {
    if log::set_logger(&BRIDGE).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}
