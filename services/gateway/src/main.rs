//! The command line.

use std::{net::IpAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use quartet_common::{
    cli::{OpenapiVersion, catch_hangup, exit, print},
    config::{render_help, render_markdown},
};
use quartet_gateway::{DEFAULTS, ExplainedRequest, Sources, TopOptions};
use serde_json::Value;

/// Faster than the allocator of the C library (docs/adr/0023-allocator.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NAME: &str = "quartet-gateway";

/// The public gateway of Quartet: routing, access tokens, rate limits, load balancing.
#[derive(Parser)]
#[command(name = NAME, version, disable_help_subcommand = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// TOML configuration file; the variable `QUARTET_CONFIG` names one too.
    #[arg(long, short, global = true)]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve requests until SIGTERM.
    Serve,
    /// Validate the configuration; report every error with line and column.
    Check,
    /// Print the configured routes as JSON.
    Routes,
    /// Say which route handles a request and why, and what its upstream receives.
    Explain {
        /// In upper case.
        method: String,
        /// A path, or a URL with the host.
        url: String,
        /// A header of the request, such as `Accept: text/html`; may be repeated.
        #[arg(long = "header", value_name = "NAME: VALUE")]
        headers: Vec<String>,
        /// IP address of the client; default: loopback.
        #[arg(long, value_name = "IP")]
        client_ip: Option<IpAddr>,
        /// For people, or as JSON.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Show what a running gateway does: traffic, replicas, limits, caches, certificates.
    Top(Top),
    /// The certificates by ACME of the running gateway on this machine.
    #[command(subcommand)]
    Acme(AcmeCommand),
    /// Print the merged OpenAPI document of the given services' documents.
    Openapi {
        /// OpenAPI version; 3.0 is for tools that do not support 3.1.
        #[arg(long, default_value = "3.1")]
        version: OpenapiVersion,
        /// A service and its document, for example `core=services/core/openapi.json`.
        #[arg(required = true, value_name = "SERVICE=FILE", value_parser = named_file)]
        documents: Vec<(String, PathBuf)>,
    },
    /// Print the problem kinds of all services and of the gateway as Markdown.
    Problems,
    /// Print all settings as a Markdown table.
    Config,
    /// Check the gateway on this machine, for container health checks.
    Healthcheck {
        /// Check readiness: not draining, and at least one upstream has an address.
        #[arg(long)]
        ready: bool,
    },
}

#[derive(Subcommand)]
enum AcmeCommand {
    /// Print state, expiry, next renewal and the last error of each.
    Status,
    /// Order a certificate again, whatever its age.
    Renew {
        /// Of its table `[acme.certificates.NAME]`.
        name: String,
        /// With another account at the authority, in place of one whose key is lost or cannot be decrypted.
        #[arg(long)]
        new_account: bool,
    },
}

#[derive(clap::Args)]
struct Top {
    /// URL of an admin listener, such as `http://10.0.0.7:9080`; default: as the configuration says.
    #[arg(long)]
    url: Option<String>,
    /// File with a token; default: the first one in the configuration.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file of the authorities that the certificate of --url may be from; default: those of the system.
    #[arg(long, value_name = "FILE", requires = "url")]
    ca: Option<PathBuf>,
    /// PEM file of a client certificate.
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// PEM file of its private key.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// Seconds between two reports (1 to 60).
    #[arg(long, default_value = "2", value_parser = clap::value_parser!(u64).range(1..=60))]
    interval: u64,
    /// Print one report and exit, as without a terminal.
    #[arg(long)]
    once: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn main() -> ExitCode {
    if let Err(error) = catch_hangup() {
        return exit(NAME, Err(error.into()));
    }
    let command = Arguments::command().after_long_help(render_help(&[DEFAULTS]));
    let arguments = match Arguments::from_arg_matches(&command.get_matches()) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    exit(NAME, run(arguments))
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let file = arguments
        .config
        .or_else(|| std::env::var_os("QUARTET_CONFIG").map(Into::into));
    let sources = Sources::of_process(file.filter(|file| !file.as_os_str().is_empty()));
    match arguments.command {
        Command::Serve => quartet_gateway::serve(sources),
        Command::Check => {
            quartet_gateway::check(&sources)?;
            print("configuration is valid\n")
        }
        Command::Routes => print(quartet_gateway::routes(&sources)?),
        Command::Explain {
            method,
            url,
            headers,
            client_ip,
            format,
        } => {
            let headers = headers.iter().map(String::as_str);
            let request = ExplainedRequest::parse(&method, &url, headers, client_ip);
            let request = request.map_err(anyhow::Error::msg)?;
            let json = format == Format::Json;
            print(quartet_gateway::explain(&sources, &request, json)?)
        }
        Command::Top(top) => quartet_gateway::top(&sources, &top.into()),
        Command::Acme(AcmeCommand::Status) => print(quartet_gateway::acme_status(&sources)?),
        Command::Acme(AcmeCommand::Renew { name, new_account }) => {
            quartet_gateway::renew_certificate(&sources, &name, new_account)
        }
        Command::Openapi { version, documents } => print(quartet_common::openapi::in_version(
            &merge(&documents)?,
            version,
        )?),
        Command::Problems => print(quartet_gateway::problems()),
        Command::Config => print(render_markdown(&[DEFAULTS])),
        Command::Healthcheck { ready } => quartet_gateway::healthcheck(&sources, ready),
    }
}

impl From<Top> for TopOptions {
    fn from(top: Top) -> Self {
        Self {
            url: top.url,
            token_file: top.token_file,
            authority_file: top.ca,
            certificate_files: top.certificate.zip(top.key),
            interval: Duration::from_secs(top.interval),
            once: top.once,
        }
    }
}

fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("must be SERVICE=FILE")?;
    Ok((name.to_owned(), file.into()))
}

fn merge(files: &[(String, PathBuf)]) -> anyhow::Result<String> {
    let mut documents = Vec::new();
    for (service, file) in files {
        let text = std::fs::read(file).with_context(|| file.display().to_string())?;
        let document: Value =
            serde_json::from_slice(&text).with_context(|| file.display().to_string())?;
        documents.push((service.as_str(), document));
    }
    let documents: Vec<(&str, &Value)> = documents
        .iter()
        .map(|(service, document)| (*service, document))
        .collect();
    Ok(quartet_gateway::openapi(&documents))
}
