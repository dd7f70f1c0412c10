use std::process::{Command, ExitCode};

use crate::cargo::{STACK, build, cargo, succeed};
use crate::signals::Signals;
use crate::tools::target_directory;

const BENCH: &str = "quartet-bench";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How the programs are compiled; `dist` as in the images
    #[arg(long, default_value = "dist", value_parser = ["dist", "release"])]
    profile: String,
    /// Names of benchmarks, --quick; all benchmarks by default
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds the optimized binaries and runs the named benchmarks, or all of them.
pub(crate) fn run(args: &Args, signals: &Signals) -> anyhow::Result<ExitCode> {
    println!("Building the optimized binaries ({})", args.profile);
    // All at once: alone, each would have its dependencies built again with other features.
    let packages = STACK.into_iter().chain([BENCH]);
    let mut command = cargo(["build", "--bins", "--profile", &*args.profile]);
    command.args(packages.flat_map(|package| ["--package", package]));
    build(command, signals)?;
    let program = target_directory()?.join(&args.profile).join(BENCH);
    let mut command = Command::new(program);
    command.args(&args.arguments);
    succeed(command, signals)?;
    Ok(ExitCode::SUCCESS)
}
