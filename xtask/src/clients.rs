//! The tests of the TypeScript and Python clients against a running stack. Those of
//! the Rust client are ordinary tests of the workspace.

use std::process::{Command, ExitCode};

use anyhow::bail;
use quartet_devstack::workspace;

use crate::cargo::build_for_tests;
use crate::live::{Live, wide_limits};
use crate::signals::Signals;
use crate::tools;

/// So short that tokens end, and are renewed, while the tests run.
const SHORT_TOKENS: &str = "core.sessions.access_token_ttl_seconds=3";

pub(crate) fn run(signals: &Signals) -> anyhow::Result<ExitCode> {
    println!("Building");
    build_for_tests(signals)?;
    let suites = [typescript(signals)?, python(signals)?];
    let mut settings = vec![SHORT_TOKENS.parse()?];
    settings.extend(wide_limits());
    let live = Live::start(settings, signals)?;
    let mut failed = Vec::new();
    for (name, command) in suites {
        println!("Tests of the {name} client");
        if !live.run(command, signals)?.success() {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("the tests of the {} client failed", failed.join(" and "))
}

fn typescript(signals: &Signals) -> anyhow::Result<(&'static str, Command)> {
    let package = workspace::root().join("sdk/typescript");
    tools::npm(&package, signals)?;
    let mut command = Command::new("npm");
    command.args(["test", "--silent"]).current_dir(package);
    Ok(("TypeScript", command))
}

fn python(signals: &Signals) -> anyhow::Result<(&'static str, Command)> {
    let package = workspace::root().join("sdk/python");
    let programs = tools::python(&package.join("requirements-dev.txt"), signals)?;
    let mut command = Command::new(programs.join("python"));
    command.args(["-m", "pytest", "--quiet"]);
    command.current_dir(package);
    Ok(("Python", command))
}
