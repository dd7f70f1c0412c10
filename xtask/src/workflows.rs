//! The lints of .github: the schemas of its files, their expressions and scripts, and
//! what an outsider could do with them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use quartet_devstack::workspace;

use crate::cargo::succeed;
use crate::signals::Signals;
use crate::tools;

/// Schemas that come with check-jsonschema, and the files that follow them.
const SCHEMAS: [(&str, &str); 3] = [
    ("vendor.github-workflows", "workflows"),
    ("vendor.github-actions", "actions"),
    ("vendor.dependabot", "dependabot.yml"),
];

pub(crate) fn check(signals: &Signals) -> anyhow::Result<()> {
    let root = workspace::root();
    let directory = root.join(".github");
    let programs = tools::python(&directory.join("lint/requirements.txt"), signals)?;
    for (schema, place) in SCHEMAS {
        let mut command = Command::new(programs.join("check-jsonschema"));
        command.args(["--builtin-schema", schema]);
        command.args(yaml_files(&directory.join(place))?);
        succeed(command, signals)?;
    }
    let mut syntax = Command::new(programs.join("jactionlint"));
    syntax.current_dir(&root);
    succeed(syntax, signals)?;
    let mut security = Command::new(programs.join("zizmor"));
    security
        .args(["--offline", "--no-progress", "--strict-collection"])
        .arg(&directory);
    succeed(security, signals)
}

/// The YAML files at or under a path, in order.
fn yaml_files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let entries = path
        .read_dir()
        .with_context(|| format!("read {}", path.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_yaml = path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        if path.is_dir() {
            files.extend(yaml_files(&path)?);
        } else if is_yaml {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
