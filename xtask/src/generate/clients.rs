//! The generated parts of the clients, from the documents in the tree.

use std::path::Path;

use super::documents;
use crate::cargo::{cargo, succeed};
use crate::{suites, tools};

/// A package, its lock file, the shell command that writes to `$OUT`, and where that belongs.
const CLIENTS: [[&str; 4]; 2] = [
    [
        "sdk/typescript",
        "package-lock.json",
        "exec node scripts/generate.mjs \"$OUT\"",
        "src/generated",
    ],
    [
        "sdk/python",
        "requirements-dev.txt",
        "exec python codegen/generate.py --out \"$OUT\"",
        "src/quartet_client/_generated",
    ],
];

/// The tree itself is not changed. A tree without one of the clients has nothing to generate for it.
/// Returns the directories.
pub(super) fn generate(root: &Path, scratch: &Path, fresh: &Path) -> anyhow::Result<Vec<String>> {
    let mut directories = Vec::new();
    for [package, lock, line, target] in CLIENTS {
        let directory = root.join(package);
        if directory.exists() {
            let programs = tools::install(&directory.join(lock))?;
            let target = format!("{package}/{target}");
            let mut command = suites::shell(line, &directory, &programs)?;
            command.env("OUT", fresh.join(&target));
            succeed(command)?;
            directories.push(target);
        }
    }
    if root.join("sdk/rust").exists() {
        // By a separate program, whose dependencies would slow down every start of xtask.
        let target = "sdk/rust/src/generated";
        let mut command = cargo(["run", "--quiet", "--package", "quartet-client-generator"]);
        command
            .arg("--")
            .arg(documents::write_merged_3_0(root, scratch)?)
            .arg(root.join("services/links/schema.graphql"))
            .arg(fresh.join(target));
        succeed(command)?;
        directories.push(target.to_owned());
    }
    Ok(directories)
}
