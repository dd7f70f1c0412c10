//! `cargo xtask contract`: can one service be deployed alone? Runs the end-to-end tests of the last
//! release on its binaries, with today's build of one service in place of its own (an upgrade), and
//! with that service unchanged on today's schema (a rollback).
//!
//! ```text
//! step       the service     its schema    the other services
//! baseline   last release    last release  last release
//! binary     today           today         last release
//! schema     last release    today         last release
//! ```

mod document;
pub(crate) mod exceptions;
mod harness;
mod previous;

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::ensure;
use clap::ValueEnum;
use quartet_devstack::workspace;

use crate::cargo::{cargo, status, succeed};
use crate::git;
use crate::service::Service;
use crate::signals::Signals;
use crate::test::Environment;
use harness::Harness;
use previous::PreviousRelease;

#[derive(clap::Args)]
pub(crate) struct Args {
    service: Service,
    /// A commit instead of the last release
    #[arg(long, value_name = "REF")]
    previous: Option<String>,
    /// Only one of the steps; binary and schema by default
    #[arg(long)]
    step: Option<Step>,
    /// Names of tests
    #[arg(last = true)]
    tests: Vec<String>,
}

/// One run of the tests of the last release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Nothing is replaced: distinguishes a broken contract from a broken test
    Baseline,
    /// Today's service among the others of the last release
    Binary,
    /// The service of the last release on today's schema
    Schema,
}

pub(crate) fn run(args: &Args, signals: &Signals) -> anyhow::Result<ExitCode> {
    let root = workspace::root();
    let service = args.service;
    let reference = match &args.previous {
        Some(named) => Some(named.clone()),
        None => git::last_release(&root, service)?,
    };
    let Some(reference) = reference else {
        println!(
            "{service} has no release before this commit (no tag {service}-v*), so there is \
             nothing to break. `--previous REF` compares with any commit."
        );
        return Ok(ExitCode::SUCCESS);
    };
    let previous = PreviousRelease::check_out(&root, &reference, signals)?;
    ensure!(
        previous.source().join(service.file("Cargo.toml")).is_file(),
        "{reference} has no service `{service}`, so there is nothing to break"
    );
    println!("Building {reference}");
    let built = previous.build(signals)?;
    println!("Building today's {service}");
    let package = service.package();
    succeed(cargo(["build", "--package", &package]), signals)?;
    let harness = Harness::new(&built, service, &workspace::binary(&package)?)?;
    let environment = Environment::start(signals)?;
    let mut broken = Vec::new();
    for step in steps(args, &root) {
        println!("\n{step}: {}", step.meaning(service, &reference));
        let mut tests = harness.tests(step)?;
        tests.args(&args.tests);
        if step == Step::Binary {
            for exception in exceptions::read(&root, service)? {
                println!("skipped: {} ({})", exception.test, exception.reason);
                tests.args(["--skip", &exception.test]);
            }
        }
        if !status(&mut environment.apply(tests), signals)?.success() {
            broken.push(step);
        }
    }
    Ok(report(service, &reference, &broken))
}

fn steps(args: &Args, root: &Path) -> Vec<Step> {
    let has_schema = root.join(format!("db/schemas/{}", args.service)).is_dir();
    match args.step {
        Some(step) => vec![step],
        None if has_schema => vec![Step::Binary, Step::Schema],
        None => vec![Step::Binary],
    }
}

fn report(service: Service, reference: &str, broken: &[Step]) -> ExitCode {
    if broken.is_empty() {
        println!("\n{service} keeps its contract with {reference}");
        return ExitCode::SUCCESS;
    }
    for step in broken {
        let meaning = step.meaning(service, reference);
        eprintln!("error: {step} fails: {meaning}");
    }
    eprintln!(
        "To see whether the tests of {reference} pass without any change, run \
         `cargo xtask contract {service} --previous {reference} --step baseline`."
    );
    ExitCode::FAILURE
}

impl Step {
    fn meaning(self, service: Service, reference: &str) -> String {
        match self {
            Self::Baseline => format!("everything as of {reference}"),
            Self::Binary => format!("today's {service}, all others as of {reference}"),
            Self::Schema => format!("{service} of {reference} on today's schema"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Baseline => "baseline",
            Self::Binary => "binary",
            Self::Schema => "schema",
        })
    }
}
