//! Tests and lints that run programs from npm and `PyPI`: the table suites.toml.

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use quartet_devstack::stack::Setting;
use quartet_devstack::workspace;
use serde::Deserialize;

use crate::cargo::{build_services, cargo, command, status, succeed};
use crate::live::LiveStack;
use crate::tools;

#[derive(Deserialize)]
struct Suite {
    /// A `package-lock.json` or file of requirements.
    lock: String,
    directory: String,
    /// `NAME: COMMAND`.
    steps: Vec<String>,
    /// Of the stack that it needs: `SERVICE.KEY=VALUE`.
    #[serde(default)]
    settings: Vec<String>,
}

fn named(name: &str) -> anyhow::Result<Vec<Suite>> {
    let mut suites: BTreeMap<String, Vec<Suite>> = toml::from_str(include_str!("suites.toml"))?;
    suites
        .remove(name)
        .with_context(|| format!("no suite `{name}`"))
}

/// Runs suites that need no stack; they find our own programs in `$PROGRAMS`.
pub(crate) fn check(name: &str) -> anyhow::Result<()> {
    let programs = workspace::profile_dir()?;
    let start = |mut command: Command| status(command.env("PROGRAMS", &programs));
    run(&named(name)?, start)
}

pub(crate) fn clients() -> anyhow::Result<()> {
    let suites = named("clients")?;
    let live = stack_for(&suites)?;
    run(&suites, |command| live.run(command))
}

pub(crate) fn conformance(seed: u32, seconds: u32) -> anyhow::Result<()> {
    println!("Building");
    build_services("dev")?;
    println!("== HTTP of the gateway");
    let mut command = cargo(["test", "--package", "quartet-gateway"]);
    command.args(["--test", "it", "--test", "direct", "conformance"]);
    succeed(command)?;
    let suites = named("conformance")?;
    let live = stack_for(&suites)?;
    let programs = workspace::profile_dir()?;
    println!("Seed {seed}");
    run(&suites, |mut command| {
        command
            .env("PROGRAMS", &programs)
            .env("SEED", seed.to_string())
            .env("TIME", seconds.to_string())
            .env("PYTHONPATH", ".")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        live.run(command)
    })
}

fn stack_for(suites: &[Suite]) -> anyhow::Result<LiveStack> {
    let mut settings = Setting::wide_limits()?;
    for own in suites.iter().flat_map(|suite| &suite.settings) {
        settings.push(own.parse()?);
    }
    LiveStack::start(settings)
}

fn run(
    suites: &[Suite],
    mut start: impl FnMut(Command) -> anyhow::Result<ExitStatus>,
) -> anyhow::Result<()> {
    let root = workspace::root();
    let mut failed = Vec::new();
    for suite in suites {
        let programs = tools::install(&root.join(&suite.lock))?;
        for step in &suite.steps {
            let (name, line) = step.split_once(": ").context("a step without a name")?;
            println!("== {name}");
            let begin = Instant::now();
            if !start(shell(line, &root.join(&suite.directory), &programs)?)?.success() {
                failed.push(name);
            }
            println!("== {name}: {} s", begin.elapsed().as_secs());
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// A line for the shell, which finds the installed programs first.
pub(crate) fn shell(line: &str, directory: &Path, programs: &Path) -> anyhow::Result<Command> {
    let path = env::var_os("PATH").unwrap_or_default();
    let programs = [programs.to_path_buf()].into_iter();
    let path = env::join_paths(programs.chain(env::split_paths(&path)))?;
    let mut shell = command("sh", ["-c", line]);
    shell.env("PATH", path).current_dir(directory);
    Ok(shell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_can_be_read() {
        for name in ["workflows", "specifications", "clients", "conformance"] {
            for suite in named(name).unwrap() {
                assert!(
                    workspace::root().join(&suite.lock).is_file(),
                    "{}",
                    suite.lock
                );
                assert!(suite.steps.iter().all(|step| step.contains(": ")));
                for setting in suite.settings {
                    setting.parse::<Setting>().unwrap();
                }
            }
        }
    }
}
