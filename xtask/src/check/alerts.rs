//! The alert rules and their tests, by promtool where it is installed.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::cargo::succeed;
use crate::signals::Signals;

const PROGRAM: &str = "promtool";

pub(super) fn check(root: &Path, signals: &Signals) -> anyhow::Result<()> {
    let mut version = Command::new(PROGRAM);
    version
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if version.status().is_err() {
        println!("Skipped: {PROGRAM} is not installed (Debian: prometheus)");
        return Ok(());
    }
    for arguments in [
        ["check", "rules", "rules.yml"],
        ["test", "rules", "rules_test.yml"],
    ] {
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments)
            .current_dir(root.join("compose/observability/prometheus"));
        succeed(command, signals)?;
    }
    Ok(())
}
