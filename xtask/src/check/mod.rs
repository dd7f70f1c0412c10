//! `cargo xtask check`: what can be decided without running tests, the fastest parts first.

mod dependencies;
mod words;

use clap::ValueEnum;
use quartet_devstack::workspace;

use crate::cargo::{build_for_tests, cargo, command, output, succeed};
use crate::{generate, git, suites};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// All by default
    parts: Vec<CheckPart>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
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

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let named = (!args.parts.is_empty()).then_some(&args.parts[..]);
    for part in named.unwrap_or(CheckPart::value_variants()) {
        println!("Checking {}", format!("{part:?}").to_lowercase());
        part.check()?;
    }
    Ok(())
}

impl CheckPart {
    fn check(self) -> anyhow::Result<()> {
        let root = workspace::root();
        match self {
            Self::Workflows => suites::check("workflows"),
            Self::Words => words::check(&root),
            Self::Alerts => alerts(),
            Self::Format => succeed(cargo(["fmt", "--all", "--check"])),
            Self::Dependencies => dependencies::check(&root),
            Self::Lints => {
                let mut clippy = cargo(["clippy", "--workspace", "--all-targets"]);
                clippy.args(["--", "-D", "warnings"]);
                succeed(clippy)
            }
            Self::Specifications => {
                build_for_tests()?;
                suites::check("specifications")
            }
            Self::Generated => generate::write(true),
        }
    }
}

fn alerts() -> anyhow::Result<()> {
    if output(&mut command("promtool", ["--version"])).is_err() {
        println!("Skipped: promtool is not installed (Debian: prometheus)");
        return Ok(());
    }
    for (verb, rules) in [("check", "rules.yml"), ("test", "rules_test.yml")] {
        let mut promtool = command("promtool", [verb, "rules", rules]);
        promtool.current_dir(workspace::root().join("compose/observability/prometheus"));
        succeed(promtool)?;
    }
    Ok(())
}

/// The files of the tree that git tracks or would add.
fn tracked(root: &std::path::Path, patterns: &[&str]) -> anyhow::Result<Vec<String>> {
    let own = ["ls-files", "--cached", "--others"];
    let not_ignored = ["--exclude-standard", "-z", "--"];
    git::files(root, &[&own, &not_ignored, patterns].concat())
}
