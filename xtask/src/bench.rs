use std::process::ExitCode;

use crate::cargo::{build, build_services, cargo, succeed};
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
    let package = ["--release", "--package", "quartet-bench"];
    let mut command = cargo(["build", "--bins"]);
    command.args(package);
    build(command, signals)?;
    let mut command = cargo(["run"]);
    command.args(package).arg("--");
    command.args(&args.arguments);
    succeed(command, signals)?;
    Ok(ExitCode::SUCCESS)
}
