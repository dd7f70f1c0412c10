use std::process::ExitCode;

use quartet_devstack::workspace;

use crate::cargo::{cargo, succeed};
use crate::signals::Signals;
use crate::{generate, lint, refuse_unknown, workflows};

/// Formatting, lints and generated files, in the order of how fast they fail;
/// with `workflows` only the lints of those.
pub(crate) fn run(words: &[&str], signals: &Signals) -> anyhow::Result<ExitCode> {
    refuse_unknown(words, &["workflows"])?;
    println!("Workflows");
    workflows::check(signals)?;
    if words.contains(&"workflows") {
        return Ok(ExitCode::SUCCESS);
    }
    println!("Formatting");
    succeed(cargo(["fmt", "--all", "--check"]), signals)?;
    println!("Lints");
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    succeed(cargo(clippy), signals)?;
    println!("Specifications");
    lint::check(&workspace::root(), signals)?;
    println!("Generated files");
    generate::run(&["--check"], signals)
}
