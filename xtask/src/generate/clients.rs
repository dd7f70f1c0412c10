//! The generated parts of the clients, from the documents as they stand in the tree.

use std::path::Path;
use std::process::Command;

use super::files::Generated;
use crate::cargo::succeed;
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
    python(root, scratch, generated, signals)
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
