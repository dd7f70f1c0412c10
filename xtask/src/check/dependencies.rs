//! Dependencies that nothing uses: those of packages are found by cargo-machete, which does not look
//! at those of the workspace.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};

use super::tracked;
use crate::cargo::{command, succeed};
use crate::tools;

pub(super) fn check(root: &Path) -> anyhow::Result<()> {
    let search = command(tools::cargo("cargo-machete", "0.9.2")?, [root]);
    succeed(search).context("some packages declare dependencies that they do not use")?;
    let read = |path: &str| fs::read_to_string(root.join(path)).context(path.to_owned());
    let mut members = String::new();
    for path in tracked(root, &["*/Cargo.toml"])? {
        members += &read(&path)?;
    }
    let workspace = read("Cargo.toml")?;
    let unused = unused(&workspace, &members).join(", ");
    ensure!(
        unused.is_empty(),
        "no package uses these entries of [workspace.dependencies]: {unused}"
    );
    Ok(())
}

/// The entries of `[workspace.dependencies]` that no manifest among `members` inherits.
fn unused<'a>(workspace: &'a str, members: &str) -> Vec<&'a str> {
    let section = workspace.split("[workspace.dependencies]\n").nth(1);
    let section = section.and_then(|rest| rest.split("\n[").next());
    let names = section.unwrap_or_default().lines().filter_map(|line| {
        let (name, _) = line.split_once(" = ")?;
        (!name.starts_with('#')).then_some(name)
    });
    let inherits = |line: &str, name: &str| {
        let rest = line.strip_prefix(name).unwrap_or_default();
        rest.starts_with(".workspace = true") || rest.starts_with(" = { workspace = true")
    };
    names
        .filter(|name| !members.lines().any(|line| inherits(line, name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::unused;

    #[test]
    fn entries_that_no_package_inherits_are_found() {
        let workspace = "[workspace.dependencies]\n# http\na = \"1\"\na-b = { version = \"1\" }\n\
                         c = \"1\"\n\n[patch.crates-io]\nd = { path = \"d\" }\n";
        let members =
            "[dependencies]\na-b.workspace = true\nc = { workspace = true, features = [] }\n";
        assert_eq!(unused(workspace, members), ["a"]);
    }
}
