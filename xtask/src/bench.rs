use std::process::ExitCode;

use crate::cargo::{build_services, cargo, succeed};
use crate::signals::Signals;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Names of benchmarks, --quick; all benchmarks by default
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds the optimized binaries and runs the named benchmarks, or all of them.
pub(crate) fn run(args: &Args, signals: &Signals) -> anyhow::Result<ExitCode> {
    println!("Building the optimized binaries");
    build_services(true, signals)?;
    let mut command = cargo(["run", "--release", "--package", "quartet-bench", "--"]);
    command.args(&args.arguments);
    succeed(command, signals)?;
    Ok(ExitCode::SUCCESS)
}
