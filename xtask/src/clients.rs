//! The tests of the TypeScript and Python clients against a running stack. Those of
//! the Rust client are ordinary tests of the workspace.

use std::process::{Command, ExitCode};

use anyhow::bail;
use quartet_devstack::workspace;

use crate::cargo::build_for_tests;
use crate::live::{Live, wide_limits};
use crate::signals::Signals;
use crate::tools;

/// So short that tokens and signed addresses end while the tests run.
const SHORT_LIVES: [&str; 2] = [
    "core.sessions.access_token_ttl_seconds=3",
    "media.uploads.ttl_seconds=6",
];

/// A client's name, and the commands that check and test it.
type Suite = (&'static str, Vec<Command>);

pub(crate) fn run(signals: &Signals) -> anyhow::Result<ExitCode> {
    println!("Building");
    build_for_tests(signals)?;
    let suites = [typescript(signals)?, python(signals)?];
    let short: Result<Vec<_>, _> = SHORT_LIVES.iter().map(|setting| setting.parse()).collect();
    let settings = wide_limits().chain(short?).collect();
    let live = Live::start(settings, signals)?;
    let mut failed = Vec::new();
    for (name, commands) in suites {
        println!("Tests of the {name} client");
        for command in commands {
            if !live.run(command, signals)?.success() {
                failed.push(name);
                break;
            }
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("the tests of the {} client failed", failed.join(" and "))
}

fn typescript(signals: &Signals) -> anyhow::Result<Suite> {
    let package = workspace::root().join("sdk/typescript");
    tools::npm(&package, signals)?;
    let mut command = Command::new("npm");
    command.args(["test", "--silent"]).current_dir(package);
    Ok(("TypeScript", vec![command]))
}

fn python(signals: &Signals) -> anyhow::Result<Suite> {
    let package = workspace::root().join("sdk/python");
    let programs = tools::python(&package.join("requirements-dev.txt"), signals)?;
    let module = |words: &[&str]| {
        let mut command = Command::new(programs.join("python"));
        command.arg("-m").args(words).current_dir(&package);
        command
    };
    let commands = vec![
        module(&["ruff", "check", "--quiet"]),
        module(&["mypy"]),
        module(&["pytest", "--quiet"]),
    ];
    Ok(("Python", commands))
}
