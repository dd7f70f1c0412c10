use std::process::ExitCode;

use crate::cargo::{cargo, succeed};
use crate::signals::Signals;
use crate::{generate, refuse_unknown};

/// Formatting, lints and generated files, in the order of how fast they fail.
pub(crate) fn run(words: &[&str], signals: &Signals) -> anyhow::Result<ExitCode> {
    refuse_unknown(words, &[])?;
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
    println!("Generated files");
    generate::run(&["--check"], signals)
}
