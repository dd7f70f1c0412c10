//! Logs as JSON lines on stdout, and traces to an OTLP collector where one is configured.

use std::{
    cell::RefCell,
    fmt,
    io::Write,
    sync::{Arc, OnceLock},
};

pub mod metrics;

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use quartet_common::config::{ConfigError, Telemetry};
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Layer,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};

tokio::task_local! {
    /// The request that the current task answers.
    pub static REQUEST: Arc<RequestContext>;
}

/// What every log line of a request carries.
#[derive(Debug)]
pub struct RequestContext {
    pub request_id: String,
    pub trace_id: String,
    pub span_id: String,
    caller_id: OnceLock<String>,
}

impl RequestContext {
    pub fn new(request_id: String, trace_id: String, span_id: String) -> Self {
        Self {
            request_id,
            trace_id,
            span_id,
            caller_id: OnceLock::new(),
        }
    }

    /// The subject of the verified token, once there is one.
    pub fn caller_id(&self) -> Option<&str> {
        self.caller_id.get().map(String::as_str)
    }
}

/// The context of the request that the current task answers, if it answers one.
pub fn current_request() -> Option<Arc<RequestContext>> {
    REQUEST.try_with(Arc::clone).ok()
}

/// Makes the response line name the caller.
pub fn set_caller(subject: &str) {
    let _ = REQUEST.try_with(|request| request.caller_id.set(subject.to_owned()));
}

/// Sends what is still buffered when it is dropped.
#[must_use = "dropping the guard ends the export of traces"]
pub struct TelemetryGuard(Option<SdkTracerProvider>);

impl fmt::Debug for TelemetryGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TelemetryGuard")
            .field(&self.0.is_some())
            .finish()
    }
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        if let Some(provider) = &self.0
            && let Err(error) = provider.shutdown()
        {
            eprintln!("traces could not be flushed: {error}");
        }
    }
}

/// Starts logging and tracing for this process.
///
/// Call it before the Tokio runtime starts: the exporter has a thread and a blocking
/// client of its own, so that it works where no runtime lives (the gateway) too.
///
/// # Errors
/// When the log filter or the collector's address is wrong.
pub fn init(
    service: &'static str,
    version: &'static str,
    settings: &Telemetry,
) -> Result<TelemetryGuard, ConfigError> {
    let filter = EnvFilter::try_new(&settings.log)
        .map_err(|error| ConfigError::invalid("telemetry.log", error.to_string()))?;
    let provider = settings
        .otlp_endpoint
        .as_ref()
        .map(|endpoint| {
            tracer_provider(
                service,
                version,
                endpoint.as_str(),
                settings.trace_sample_ratio,
            )
        })
        .transpose()?;
    let spans = provider
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer(service)));
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    tracing_subscriber::registry()
        .with(filter)
        .with(spans)
        .with(JsonLines { service })
        .try_init()
        .map_err(|error| ConfigError::invalid("telemetry", error.to_string()))?;
    Ok(TelemetryGuard(provider))
}

fn tracer_provider(
    service: &'static str,
    version: &'static str,
    endpoint: &str,
    sample_ratio: f64,
) -> Result<SdkTracerProvider, ConfigError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_headers(std::collections::HashMap::new())
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .build()
        .map_err(|error| ConfigError::invalid("telemetry.otlp_endpoint", error.to_string()))?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample_ratio)));
    let resource = Resource::builder()
        .with_service_name(format!("quartet-{service}"))
        .with_attribute(KeyValue::new("service.version", version))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(sampler)
        .with_resource(resource)
        .build())
}

/// Writes an event as one JSON object per line.
struct JsonLines {
    service: &'static str,
}

thread_local! {
    /// Reused, so that a line costs no allocation once the buffer has grown.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JsonLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let mut line = Map::new();
        line.insert("timestamp".into(), timestamp().into());
        line.insert("level".into(), level(*metadata.level()).into());
        line.insert("msg".into(), fields.message.unwrap_or_default().into());
        line.append(&mut fields.rest);
        line.insert("service".into(), self.service.into());
        if let Some(request) = current_request() {
            let mut note = |name: &str, value: &str| {
                if !line.contains_key(name) {
                    line.insert(name.into(), value.into());
                }
            };
            note("request_id", &request.request_id);
            note("trace_id", &request.trace_id);
            note("span_id", &request.span_id);
        }
        if *metadata.level() != Level::INFO {
            line.insert("target".into(), metadata.target().into());
        }
        LINE.with_borrow_mut(|buffer| {
            buffer.clear();
            if serde_json::to_writer(&mut *buffer, &line).is_ok() {
                buffer.push(b'\n');
                // A closed stdout must not take the service down.
                let _ = std::io::stdout().lock().write_all(buffer);
            }
        });
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a log line tells when it was written, in tests too"
)]
fn timestamp() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

#[derive(Default)]
struct Fields {
    message: Option<String>,
    rest: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        if field.name() == "message" {
            self.message = Some(
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned),
            );
        } else {
            self.rest.insert(field.name().to_owned(), value);
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string().into());
    }
}
