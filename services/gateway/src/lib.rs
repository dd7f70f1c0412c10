//! The gateway: the only public listener, in front of all services.
//!
//! A request passes through [`edge`] (connection, phases), [`routing`] (which route), [`policy`]
//! (is it allowed) and [`upstream`] (which replica). Only `edge` knows pingora, as the test
//! `imports_point_downward` (`tests/it/layers.rs`) checks.

// What the objects of a cluster can say of routes is there without them, but nothing says it.
#![cfg_attr(not(feature = "kubernetes"), allow(dead_code, unused_imports))]

mod admin;
mod admin_access;
mod api_keys;
mod background;
mod cache;
mod config;
mod document;
mod edge;
mod error;
mod explain;
#[cfg(test)]
mod fuzz;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod listener;
mod metrics;
mod pages;
mod policy;
mod pulse;
mod redis_client;
mod refusals;
mod reloads;
mod reply;
mod request;
mod response_body;
mod revocations;
mod routing;
mod session;
mod signed;
mod site;
mod snapshot;
mod state;
mod status;
mod tls;
mod top;
mod upstream;

use std::sync::Arc;

use quartet_common::openapi as documents;
use quartet_common::{cli, clock::Clock};
use quartet_telemetry::{self as telemetry, metrics::Metrics};
use serde_json::Value;

use edge::server::OperatorListeners;
use metrics::GatewayMetrics;
use policy::rate_limit::LocalCounter;
use revocations::Revocations;
use snapshot::{Snapshot, SnapshotContext};
use tls::Certificates;

pub use config::{DEFAULTS, load::Sources};
pub use explain::ExplainedRequest;
pub use top::TopOptions;

/// Runs the gateway until a signal ends it.
///
/// # Errors
/// When the configuration is invalid, or an address cannot be bound.
pub fn serve(sources: Sources) -> anyhow::Result<()> {
    let texts = sources.read()?;
    let config = sources.parse(&texts)?;
    let telemetry = telemetry::init(
        "gateway",
        env!("CARGO_PKG_VERSION"),
        &config.model.telemetry,
    )?;
    telemetry::report_passed_over(&config.settings);
    choose_tls_provider()?;
    let admin = listener::bind(config.model.server.admin_listen, "server.admin_listen")?;
    let probes = config.model.server.probe_listen;
    let probes = probes.map(|address| listener::bind(address, "server.probe_listen"));
    let probes = probes.transpose()?;
    let (state, jobs) = state::State::new(config, texts, sources, telemetry.level())?;
    let result = edge::server::run(&state, OperatorListeners { admin, probes }, jobs);
    if result.is_ok() {
        tracing::info!("stopped");
    }
    drop(telemetry);
    result
}

/// Validates the configuration as `serve` does.
///
/// # Errors
/// Every violation, with line and column if it is in a file.
pub fn check(sources: &Sources) -> anyhow::Result<()> {
    build(sources)?;
    Ok(())
}

/// The snapshot that `serve` would begin with.
fn build(sources: &Sources) -> anyhow::Result<Snapshot> {
    let config = sources.load()?;
    let shared = SnapshotContext {
        clock: &Clock::system(),
        counter: &Arc::new(LocalCounter::new(1)),
        revocations: &Revocations::new(Clock::system()),
        metrics: &GatewayMetrics::new(Metrics::new("gateway")),
        certificates: &Certificates::new(),
    };
    Ok(Snapshot::build(config, None, shared)?)
}

/// The merged document of services, given by name and document, as pretty JSON.
pub fn openapi(services: &[(&str, &Value)]) -> String {
    documents::print(&pages::openapi::merge_with_gateway(services))
}

/// The problem kinds of every service and those of the gateway, as Markdown.
pub fn problems() -> String {
    use quartet_common::problem::kinds::{ALL, render_markdown};
    let (shared, own) = (render_markdown(ALL), render_markdown(error::ALL));
    format!(
        "## All services\n\nAnd the gateway, where they apply.\n\n{shared}\n## quartet-gateway\n\n{own}"
    )
}

/// The configured routes, as JSON.
///
/// # Errors
/// When the configuration is invalid.
pub fn routes(sources: &Sources) -> anyhow::Result<String> {
    let routes = admin::describe_routes(&sources.load()?);
    Ok(serde_json::to_string_pretty(&routes)?)
}

/// Which route handles a request, and why: for people, or as JSON.
///
/// # Errors
/// When the configuration is invalid.
pub fn explain(
    sources: &Sources,
    request: &ExplainedRequest,
    json: bool,
) -> anyhow::Result<String> {
    let explanation = explain::Explanation::of(request, &build(sources)?);
    if json {
        return Ok(serde_json::to_string_pretty(&explanation)?);
    }
    Ok(explanation.to_string())
}

/// Shows the status of a running gateway in the terminal.
///
/// # Errors
/// When it does not answer, or the terminal cannot be used.
pub fn top(sources: &Sources, options: &TopOptions) -> anyhow::Result<()> {
    choose_tls_provider()?;
    top::top(sources, options)
}

/// The certificates by ACME of the running gateway of this configuration, for people.
///
/// # Errors
/// When it does not answer.
pub fn acme_status(sources: &Sources) -> anyhow::Result<String> {
    choose_tls_provider()?;
    top::acme_status(sources)
}

/// Renews a certificate by ACME of the running gateway of this configuration; if asked for, with another account
/// at the authority.
///
/// # Errors
/// When it does not answer, or has no certificate of this name.
pub fn renew_certificate(sources: &Sources, name: &str, new_account: bool) -> anyhow::Result<()> {
    choose_tls_provider()?;
    top::renew_certificate(sources, name, new_account)
}

/// Several libraries bring a provider each; the process must choose one.
fn choose_tls_provider() -> anyhow::Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider is already installed"))
}

/// Checks the gateway on this machine: liveness on a listener without TLS, else readiness.
///
/// # Errors
/// When the response is not 200 within three seconds.
pub fn healthcheck(sources: &Sources, ready: bool) -> anyhow::Result<()> {
    let config = sources.load()?;
    let server = &config.model.server;
    if ready {
        match server.probe_listen {
            Some(probes) => cli::healthcheck(probes, "/ready"),
            None if config.admin.tls.is_some() => top::ask_readiness(&config),
            None => cli::healthcheck(server.admin_listen, "/ready"),
        }
    } else {
        // With TLS, the certificate would not be for this address.
        match server.plain_address().or(server.probe_listen) {
            Some(address) => cli::healthcheck(address, "/health"),
            None if config.admin.tls.is_some() => top::ask_readiness(&config),
            None => cli::healthcheck(server.admin_listen, "/health"),
        }
    }
}
