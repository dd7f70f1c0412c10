//! `serve`, and small commands around the same settings.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use quartet_common::{cli, config::render_help, config::render_markdown};
use quartet_gateway::config::{DEFAULTS, load::Sources};

/// The only public door of Quartet: routing, tokens, limits, balancing.
#[derive(Parser)]
#[command(name = "quartet-gateway", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// TOML file with settings, else the one that `QUARTET_CONFIG` names.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Take requests until told to end.
    Serve,
    /// Say what is wrong with the settings, with line and column; exit 0 when nothing is.
    Check,
    /// Print the routes as JSON.
    Routes,
    /// Print all settings as a Markdown table.
    Config,
    /// Exit 0 when the gateway on this machine answers, for container health checks.
    Healthcheck,
}

fn main() -> ExitCode {
    let command = Arguments::command().after_long_help(render_help(&[DEFAULTS]));
    let arguments = match Arguments::from_arg_matches(&command.get_matches()) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    cli::exit("quartet-gateway", run(arguments))
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
            print("the settings are good\n")
        }
        Command::Routes => print(&quartet_gateway::routes(&sources)?),
        Command::Config => print(&render_markdown(&[DEFAULTS])),
        Command::Healthcheck => cli::healthcheck(sources.load()?.model.server.listen, "/health"),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
