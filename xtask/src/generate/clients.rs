//! The generated parts of the clients, from the documents in the tree.

use std::path::Path;

use super::documents;
use super::files::Generated;
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

/// Generates into `scratch` and collects; the tree itself is not changed. A tree without one of the
/// clients has nothing to generate for it.
pub(super) fn generate(root: &Path, scratch: &Path) -> anyhow::Result<Generated> {
    let mut generated = Generated::default();
    for [package, lock, line, target] in CLIENTS {
        let directory = root.join(package);
        if directory.exists() {
            let programs = tools::install(&directory.join(lock))?;
            let fresh = scratch.join(package);
            let mut command = suites::shell(line, &directory, &programs)?;
            command.env("OUT", &fresh);
            succeed(command)?;
            generated.add_directory(&format!("{package}/{target}"), &fresh)?;
        }
    }
    if root.join("sdk/rust").exists() {
        // By a separate program, whose dependencies would slow down every start of xtask.
        let fresh = scratch.join("sdk/rust");
        let mut command = cargo(["run", "--quiet", "--package", "quartet-client-generator"]);
        command
            .arg("--")
            .arg(documents::write_merged_3_0(root, scratch)?)
            .arg(root.join("services/links/schema.graphql"))
            .arg(&fresh);
        succeed(command)?;
        generated.add_directory("sdk/rust/src/generated", &fresh)?;
    }
    Ok(generated)
}
