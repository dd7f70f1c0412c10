//! Runs cargo and other programs.

use std::ffi::OsStr;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use quartet_devstack::command::describe;
pub(crate) use quartet_devstack::command::output;
use quartet_devstack::{signals, workspace};
use rustix::process::{Pid, Signal, kill_process};

const POLL: Duration = Duration::from_millis(20);
/// How long a child may take to act on a Ctrl-C that the terminal sent it.
const CTRL_C_GRACE: Duration = Duration::from_secs(10);

/// The services; the package and the binary of `core` are `quartet-core`.
pub(crate) const SERVICES: [&str; 4] = ["core", "media", "links", "gateway"];
/// The packages whose binaries make up a running stack.
pub(crate) const STACK: [&str; 5] = [
    "quartet-devstore",
    "quartet-core",
    "quartet-media",
    "quartet-links",
    "quartet-gateway",
];

pub(crate) fn command<S: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// cargo, in the root of the source tree.
pub(crate) fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = command(program, arguments);
    command.current_dir(workspace::root());
    remove_cargo_environment(&mut command);
    command
}

/// `--package A --package B` and so on.
pub(crate) fn packages<'a>(
    names: impl IntoIterator<Item = &'a str>,
) -> impl Iterator<Item = &'a str> {
    names.into_iter().flat_map(|name| ["--package", name])
}

/// Removes the variables in which `cargo run` describes the package of xtask. Build scripts that
/// read them (that of ring does) would run again, and everything that depends on them would be
/// recompiled, whenever cargo is run by xtask after it was run by hand.
pub(crate) fn remove_cargo_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
}

/// Builds the binaries that make up a running stack, with this profile of cargo.
pub(crate) fn build_services(profile: &str) -> anyhow::Result<()> {
    let mut command = cargo(["build", "--profile", profile]);
    command.args(packages(STACK));
    build(command)
}

/// Builds what `cargo test --workspace` runs, the binaries of the services included. Not package by
/// package, which would build the dependencies again with other features.
pub(crate) fn build_for_tests() -> anyhow::Result<()> {
    println!("Building");
    build(cargo(["build", "--workspace", "--bins", "--tests"]))
}

/// Runs a command that compiles.
pub(crate) fn build(command: Command) -> anyhow::Result<()> {
    succeed(command).context("the build failed; the compiler's message is above")
}

/// Runs a command until it ends; fails unless it succeeded.
pub(crate) fn succeed(mut command: Command) -> anyhow::Result<()> {
    let status = status(&mut command)?;
    ensure!(status.success(), "{} ({status})", describe(&command));
    Ok(())
}

/// Runs a command until it ends, or ends it when a signal arrives.
pub(crate) fn status(command: &mut Command) -> anyhow::Result<ExitStatus> {
    let mut child = command
        .spawn()
        .with_context(|| format!("start {}", describe(command)))?;
    loop {
        let status = child.try_wait()?;
        if signals::received() {
            if status.is_none() {
                end(&mut child)?;
            }
            bail!("interrupted");
        }
        if let Some(status) = status {
            return Ok(status);
        }
        sleep(POLL);
    }
}

fn end(child: &mut Child) -> anyhow::Result<()> {
    let deadline = Instant::now() + CTRL_C_GRACE;
    while signals::sent_by_terminal() && Instant::now() < deadline {
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        sleep(POLL);
    }
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
    child.wait()?;
    Ok(())
}

/// The exit code of a command, to be passed on.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}
