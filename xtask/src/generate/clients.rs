//! The generated parts of the clients, from the documents as they stand in the tree.

use std::path::Path;
use std::process::Command;

use super::files::Generated;
use crate::cargo::{cargo, succeed};
use crate::signals::Signals;
use crate::tools;

/// Written anew in `scratch` and collected; the tree itself is not touched. A source
/// tree without one of the clients has nothing to generate for it.
pub(crate) fn generate(
    root: &Path,
    scratch: &Path,
    generated: &mut Generated,
    signals: &Signals,
) -> anyhow::Result<()> {
    typescript(root, scratch, generated, signals)?;
    python(root, scratch, generated, signals)?;
    rust(root, scratch, generated, signals)
}

fn typescript(
    root: &Path,
    scratch: &Path,
    generated: &mut Generated,
    signals: &Signals,
) -> anyhow::Result<()> {
    let package = root.join("sdk/typescript");
    if !package.exists() {
        return Ok(());
    }
    tools::npm(&package, signals)?;
    let fresh = scratch.join("typescript");
    let mut command = Command::new("node");
    command.arg("scripts/generate.mjs").arg(&fresh);
    command.current_dir(&package);
    succeed(command, signals)?;
    generated.add_directory("sdk/typescript/src/generated", &fresh)
}

fn python(
    root: &Path,
    scratch: &Path,
    generated: &mut Generated,
    signals: &Signals,
) -> anyhow::Result<()> {
    let package = root.join("sdk/python");
    if !package.exists() {
        return Ok(());
    }
    let programs = tools::python(&package.join("requirements-dev.txt"), signals)?;
    let fresh = scratch.join("python");
    let mut command = Command::new(programs.join("python"));
    command.arg("codegen/generate.py").arg("--out").arg(&fresh);
    command.current_dir(&package);
    succeed(command, signals)?;
    generated.add_directory("sdk/python/src/quartet_client/_generated", &fresh)
}

/// By a program of its own: what it is built from would slow every start of `cargo xtask`.
fn rust(
    root: &Path,
    scratch: &Path,
    generated: &mut Generated,
    signals: &Signals,
) -> anyhow::Result<()> {
    if !root.join("sdk/rust").exists() {
        return Ok(());
    }
    let fresh = scratch.join("rust");
    let mut command = cargo([
        "run",
        "--quiet",
        "--package",
        "quartet-client-generator",
        "--",
    ]);
    command
        .arg(root.join("services/gateway/openapi-3.0.json"))
        .arg(root.join("services/links/schema.graphql"))
        .arg(&fresh);
    succeed(command, signals)?;
    generated.add_directory("sdk/rust/src/generated", &fresh)
}
