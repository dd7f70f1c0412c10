use std::process::ExitCode;

use crate::cargo::{build_parts, cargo, succeed};
use crate::signals::Signals;

/// Builds the optimised binaries and runs the benchmarks that are named, or all.
pub(crate) fn run(words: &[&str], signals: &Signals) -> anyhow::Result<ExitCode> {
    println!("Building the optimised binaries");
    build_parts(true, signals)?;
    let mut command = cargo(["run", "--release", "--package", "quartet-bench", "--"]);
    command.args(words);
    succeed(command, signals)?;
    Ok(ExitCode::SUCCESS)
}
