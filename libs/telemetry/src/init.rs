//! Starts logging and tracing for a process.

use std::{fmt, sync::OnceLock, time::Duration};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use quartet_common::config::{ConfigError, Settings, Telemetry};
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{level::LogLevel, log, otlp::Export, span};

/// How long the end of the process waits for stdout.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Keeps telemetry running. Dropping it sends buffered spans and flushes the log, each within a
/// bounded time.
#[must_use = "dropping the guard ends telemetry"]
pub struct TelemetryGuard {
    export: Option<Export>,
    level: LogLevel,
}

impl fmt::Debug for TelemetryGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelemetryGuard")
            .field("exports_spans", &self.export.is_some())
            .field("level", &self.level)
            .finish()
    }
}

impl TelemetryGuard {
    /// The handle that changes the log filter while the process runs.
    pub fn level(&self) -> LogLevel {
        self.level.clone()
    }
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        if let Some(export) = &mut self.export {
            export.stop();
        }
        log::flush(FLUSH_LIMIT);
    }
}

/// The panic hook is installed once per process.
static PANICS: OnceLock<()> = OnceLock::new();

/// Starts the log on stdout and, where an endpoint is configured, the export of spans. Once per
/// process; needs no Tokio runtime.
///
/// # Errors
/// When the log filter or the endpoint is invalid.
pub fn init(
    service: &'static str,
    version: &'static str,
    settings: &Telemetry,
) -> Result<TelemetryGuard, ConfigError> {
    let failed = |error: &dyn fmt::Display| ConfigError::invalid("telemetry", error.to_string());
    let (filter, level) = LogLevel::new(&settings.log)?;
    let export = settings
        .otlp_endpoint
        .as_ref()
        .map(|endpoint| Export::start(service, version, endpoint, settings))
        .transpose()?;
    let spans = export
        .as_ref()
        .map(|export| tracing_opentelemetry::layer().with_tracer(export.provider.tracer(service)));
    log::start(service).map_err(|error| failed(&error))?;
    tracing_subscriber::registry()
        .with(filter)
        .with(spans)
        .with(log::JsonLines)
        .try_init()
        .map_err(|error| failed(&error))?;
    if export.is_some() {
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        span::enable();
    }
    log::bridge();
    PANICS.get_or_init(log::log_panics);
    Ok(TelemetryGuard { export, level })
}

/// Names the variables of Kubernetes services in one line: there is one per service and port of the
/// namespace.
pub fn report_passed_over(settings: &Settings) {
    let ignored = settings.passed_over();
    if !ignored.is_empty() {
        let ignored = ignored.join(", ");
        tracing::info!(target: "quartet", ignored, "variables of Kubernetes services ignored");
    }
}
