//! `cargo xtask`: the commands of a developer. `cargo xtask --help` lists them.

mod affected;
mod api_diff;
mod bench;
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
mod service;
mod signals;
mod suites;
mod test;
mod tools;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use signals::Signals;

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
    E2e(test::EndToEndArgs),
    /// Write the generated files, or fail if one is stale
    Gen(generate::Args),
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
    match run(command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let signals = Signals::install()?;
    let outcome = match command {
        Command::Up(args) => up::run(&args, &signals),
        Command::Test(args) => test::run(&args, &signals),
        Command::E2e(args) => test::end_to_end(&args, &signals),
        Command::Gen(args) => generate::run(&args, &signals),
        Command::Check(args) => check::run(&args, &signals),
        Command::Bench(args) => bench::run(&args, &signals),
        Command::Fuzz(args) => fuzz::run(&args, &signals),
        Command::Live(args) => live::run(args, &signals),
        Command::Image(args) => image::run(&args, &signals),
        Command::ApiDiff(args) => api_diff::run(&args, &signals),
        Command::Affected(args) => affected::run(&args),
        Command::Contract(args) => contract::run(&args, &signals),
        Command::Release(args) => release::run(args, &signals),
        Command::Sbom(args) => sbom::run(&args),
        Command::Db => db::run(&signals),
    };
    match outcome {
        // Ctrl-C is not an error, but not success either.
        Err(_) if signals.received() => Ok(ExitCode::from(130)),
        other => other,
    }
}
