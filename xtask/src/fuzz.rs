use std::process::ExitCode;

use crate::cargo::{cargo, succeed};
use crate::signals::Signals;

/// The tests `fuzz_*` of the gateway: request heads, responses, paths, configurations, tokens.
const TARGETS: u64 = 5;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Processor time of all targets together
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Run only targets with this in their name
    #[arg(default_value = "fuzz_")]
    target: String,
}

/// Runs one target after the other. An input that breaks a rule is added to the corpus.
pub(crate) fn run(args: &Args, signals: &Signals) -> anyhow::Result<ExitCode> {
    let targets = if args.target == "fuzz_" { TARGETS } else { 1 };
    let mut command = cargo(["test", "--package", "quartet-gateway", "--lib"]);
    command.args([&args.target, "--", "--test-threads=1", "--nocapture"]);
    let seconds = args.minutes * 60 / targets;
    command.env("QUARTET_FUZZ_SECONDS", seconds.to_string());
    succeed(command, signals)?;
    Ok(ExitCode::SUCCESS)
}
