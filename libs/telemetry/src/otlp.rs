//! Export of spans to an OTLP collector, by HTTP or gRPC.

use std::collections::HashMap;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
    tonic_types::transport::ClientTlsConfig,
};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use quartet_common::config::{ConfigError, OtlpProtocol, Telemetry};
use tokio::runtime::Runtime;
use url::Url;

const KEY: &str = "telemetry.otlp_endpoint";

/// The running export. It has threads of its own, so that it works without a Tokio runtime (the
/// gateway's main thread) and does not compete with requests for one.
pub(crate) struct Export {
    pub(crate) provider: SdkTracerProvider,
    /// Drives the gRPC connection.
    runtime: Option<Runtime>,
}

impl Export {
    pub(crate) fn start(
        service: &'static str,
        version: &'static str,
        endpoint: &Url,
        settings: &Telemetry,
    ) -> Result<Self, ConfigError> {
        let (exporter, runtime) = match settings.otlp_protocol {
            OtlpProtocol::HttpProtobuf => (over_http(endpoint), None),
            OtlpProtocol::Grpc => {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .thread_name("otlp")
                    .enable_all()
                    .build()
                    .map_err(|error| ConfigError::invalid(KEY, error.to_string()))?;
                let _context = runtime.enter();
                (over_grpc(endpoint), Some(runtime))
            }
        };
        let exporter = exporter.map_err(|error| ConfigError::invalid(KEY, error.to_string()))?;
        let ratio = Sampler::TraceIdRatioBased(settings.trace_sample_ratio);
        let resource = Resource::builder()
            .with_service_name(format!("quartet-{service}"))
            .with_attribute(KeyValue::new("service.version", version))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(ratio)))
            .with_resource(resource)
            .build();
        Ok(Self { provider, runtime })
    }

    /// Sends what is still buffered; the SDK bounds the time.
    pub(crate) fn stop(&mut self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(target: "quartet", %error, "spans lost at shutdown");
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn over_http(endpoint: &Url) -> Result<SpanExporter, ExporterBuildError> {
    let base = endpoint.as_str().trim_end_matches('/');
    SpanExporter::builder()
        .with_http()
        .with_headers(HashMap::new())
        .with_endpoint(format!("{base}/v1/traces"))
        .build()
}

fn over_grpc(endpoint: &Url) -> Result<SpanExporter, ExporterBuildError> {
    let mut builder = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint.as_str());
    if endpoint.scheme() == "https" {
        builder = builder.with_tls_config(ClientTlsConfig::new().with_enabled_roots());
    }
    builder.build()
}
