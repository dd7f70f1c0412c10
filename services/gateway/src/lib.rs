//! The only public door: routes requests to the services behind it.
//!
//! A request meets [`edge`] (connections, phases), [`routing`] (which route), [`policy`]
//! (may it pass), [`upstream`] (who answers). Settings come from [`config`]; what runs
//! beside the requests is in [`control`].

mod admin;
pub mod config;
mod control;
mod edge;
mod error;
mod logs;
mod observe;
mod pages;
mod policy;
mod routing;
mod state;
mod trace;
mod upstream;

use anyhow::Context as _;
use quartet_telemetry as telemetry;
use serde_json::Value;

use config::load::Sources;

/// Runs the gateway until it is told to end.
///
/// # Errors
/// When the settings have a mistake or an address cannot be listened on.
pub fn serve(sources: Sources) -> anyhow::Result<()> {
    let config = sources.load()?;
    let telemetry = telemetry::init(
        "gateway",
        env!("CARGO_PKG_VERSION"),
        &config.model.telemetry,
    )?;
    logs::bridge();
    // Several libraries bring a provider each; the process must have one.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider was installed before"))?;
    let server = config.model.server.clone();
    let admin = std::net::TcpListener::bind(server.admin_listen)
        .with_context(|| format!("{} cannot be listened on", server.admin_listen))?;
    let state = state::State::new(config, sources)?;
    let ended = edge::server::run(&state, admin);
    if ended.is_ok() {
        tracing::info!("stopped");
    }
    drop(telemetry);
    ended
}

/// Everything that `serve` would refuse about the settings.
///
/// # Errors
/// Every mistake, with line and column where it stands in a file.
pub fn check(sources: &Sources) -> anyhow::Result<()> {
    let config = sources.load()?;
    state::verifier(&config.model, quartet_common::clock::Clock::system())?;
    Ok(())
}

/// The merged document of these services, each with its name and its document, as pretty JSON.
pub fn openapi(documents: &[(&str, &Value)]) -> String {
    quartet_openapi::print(&pages::openapi::merge_with_own(documents))
}

/// The kinds of problems that every service has, and those of the gateway alone, as Markdown.
pub fn problems() -> String {
    use quartet_common::problem::kinds::{ALL, render_markdown};
    let (shared, own) = (render_markdown(ALL), render_markdown(error::kinds::ALL));
    format!(
        "Every service, and the gateway where it can tell:\n\n{shared}\nOnly the gateway:\n\n{own}"
    )
}

/// The routes that the settings describe, as JSON.
///
/// # Errors
/// When the settings have a mistake.
pub fn routes(sources: &Sources) -> anyhow::Result<String> {
    let config = sources.load()?;
    let upstreams: Vec<&str> = config
        .upstreams
        .iter()
        .map(|upstream| &*upstream.name)
        .collect();
    let limits: Vec<&str> = config.limits.iter().map(|limit| &*limit.name).collect();
    let routes: Vec<_> = config
        .routes
        .routes()
        .iter()
        .map(|route| admin::describe_route(route, &upstreams, &limits))
        .collect();
    Ok(serde_json::to_string_pretty(&routes)?)
}
