//! `cargo xtask`: the commands of a developer. `cargo xtask --help` lists them.

mod affected;
mod api_diff;
mod bench;
mod ca;
mod cargo;
mod check;
mod compose;
mod contract;
mod db;
mod fuzz;
mod generate;
mod git;
mod image;
mod live;
mod release;
mod sbom;
mod suites;
mod test;
mod tools;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use quartet_devstack::signals;

/// The commands of a developer.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", arg_required_else_help = true)]
struct Xtask {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build and start the whole stack until Ctrl-C
    Up(up::Args),
    /// Run every test with what it needs, or one of the suites outside Rust
    Test(test::Args),
    /// Run only the end-to-end tests
    E2e {
        /// For the test runner
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Write the generated files, or fail if one is stale
    Gen {
        /// Write nothing; fail if a file is stale
        #[arg(long)]
        check: bool,
    },
    /// Check workflows, words, formatting, dependencies, lints, specifications and generated files
    Check(check::Args),
    /// Run the benchmarks with optimized binaries
    Bench(bench::Args),
    /// Try changed inputs on the parsers of the gateway for a time
    Fuzz(fuzz::Args),
    /// Run a command against a temporary stack on free ports
    Live(live::Args),
    /// Build container images: small, static, with one program each
    Image(image::Args),
    /// Make a certificate authority for development, and certificates by it for each service
    Ca(ca::Args),
    /// Compare the published interfaces with the last release
    ApiDiff(api_diff::Args),
    /// List the services that a change touches
    Affected(affected::Args),
    /// Run the end-to-end tests of the last release with today's build of one service
    Contract(contract::Args),
    /// Prepare a release of one service: version, change notes, generated files
    Release(release::Args),
    /// Write the software bill of materials of a service (`CycloneDX`)
    Sbom(sbom::Args),
    /// Run only the development Postgres, with roles and schemas, until Ctrl-C
    Db,
}

fn main() -> ExitCode {
    let command = Xtask::parse().command;
    signals::main(|| run(command))
}

/// Commands without a result of their own fail by an error.
fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Test(args) => return test::run(&args),
        Command::E2e { arguments } => return test::end_to_end(&arguments),
        Command::Live(args) => return live::run(args),
        Command::Up(args) => up::run(&args),
        Command::Gen { check } => generate::write(check),
        Command::Check(args) => check::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Image(args) => image::run(&args),
        Command::Ca(args) => ca::run(&args),
        Command::ApiDiff(args) => api_diff::run(&args),
        Command::Affected(args) => affected::run(&args),
        Command::Contract(args) => contract::run(&args),
        Command::Release(args) => release::run(args),
        Command::Sbom(args) => sbom::run(&args),
        Command::Db => db::run(),
    }?;
    Ok(ExitCode::SUCCESS)
}
