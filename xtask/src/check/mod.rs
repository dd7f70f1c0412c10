//! `cargo xtask check`: what can be decided without running tests, the fastest parts first.

mod alerts;
mod dependencies;
mod words;

use std::process::ExitCode;

use anyhow::ensure;
use clap::ValueEnum;
use quartet_devstack::workspace;

use crate::cargo::{build_for_tests, cargo, succeed};
use crate::signals::Signals;
use crate::suites::{self, SPECIFICATIONS, WORKFLOWS};
use crate::{generate, git};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// All by default
    parts: Vec<CheckPart>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CheckPart {
    /// The files in .github: schemas, scripts, security
    Workflows,
    /// Words that docs/glossary.md has retired
    Words,
    /// The alert rules and their tests, if promtool is installed
    Alerts,
    /// rustfmt
    Format,
    /// Dependencies that nothing uses
    Dependencies,
    /// clippy
    Lints,
    /// The OpenAPI documents
    Specifications,
    /// `cargo xtask gen --check`
    Generated,
}

const DEFAULT: [CheckPart; 8] = [
    CheckPart::Workflows,
    CheckPart::Words,
    CheckPart::Alerts,
    CheckPart::Format,
    CheckPart::Dependencies,
    CheckPart::Lints,
    CheckPart::Specifications,
    CheckPart::Generated,
];

pub(crate) fn run(args: &Args, signals: &Signals) -> anyhow::Result<ExitCode> {
    let parts = if args.parts.is_empty() {
        &DEFAULT[..]
    } else {
        &args.parts
    };
    for part in parts {
        println!("Checking {}", format!("{part:?}").to_lowercase());
        part.check(signals)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl CheckPart {
    fn check(self, signals: &Signals) -> anyhow::Result<()> {
        let root = workspace::root();
        match self {
            Self::Workflows => suites::check(WORKFLOWS, signals),
            Self::Words => words::check(&root),
            Self::Alerts => alerts::check(&root, signals),
            Self::Format => succeed(cargo(["fmt", "--all", "--check"]), signals),
            Self::Dependencies => dependencies::check(&root, signals),
            Self::Lints => {
                let clippy = [
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--",
                    "-D",
                    "warnings",
                ];
                succeed(cargo(clippy), signals)
            }
            Self::Specifications => {
                build_for_tests(signals)?;
                suites::check(SPECIFICATIONS, signals)
            }
            Self::Generated => {
                let outcome = generate::write(true, signals)?;
                ensure!(outcome == ExitCode::SUCCESS, "generated files are stale");
                Ok(())
            }
        }
    }
}

/// The files of the tree that git tracks or would add.
fn tracked(root: &std::path::Path, patterns: &[&str]) -> anyhow::Result<Vec<String>> {
    let list = [
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
        "--",
    ];
    let files = git::output(root, &[&list[..], patterns].concat())?;
    let files = files.split('\0').filter(|file| !file.is_empty());
    Ok(files.map(str::to_owned).collect())
}
