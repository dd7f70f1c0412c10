//! Carries what libraries log through the `log` crate into this log, each record by its own target:
//! the filter applies to it as to every other event.

use tracing_log::{AsLog as _, LogTracer};
use tracing_subscriber::EnvFilter;

/// Call it once, after the subscriber is installed. A logger that was set before stays.
pub(crate) fn bridge() {
    let max = log::max_level();
    let _ = LogTracer::builder().with_max_level(max).init();
}

/// Records that no directive of the filter can enable cost one comparison.
pub(crate) fn limit_bridge(filter: &EnvFilter) {
    let max = filter.max_level_hint();
    log::set_max_level(max.map_or(log::LevelFilter::Trace, |max| max.as_log()));
}
