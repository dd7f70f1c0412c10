//! Running cargo.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use quartet_devstack::workspace;
use rustix::process::{Pid, Signal, kill_process};

use crate::signals::Signals;

const POLL: Duration = Duration::from_millis(20);
/// How long a child may take to act on a Ctrl-C that it got itself.
const OWN_END: Duration = Duration::from_secs(10);

/// The packages whose binaries make up a running Quartet.
pub(crate) const PARTS: [&str; 5] = [
    "quartet-devstore",
    "quartet-core",
    "quartet-media",
    "quartet-links",
    "quartet-gateway",
];

/// cargo, in the root of the source tree.
pub(crate) fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(workspace::root());
    forget_ourselves(&mut command);
    command
}

/// Takes away what `cargo run` tells this program about its own package. Build scripts
/// that look at it (ring's does) would run again, and all that stands on them would be
/// compiled anew, whenever cargo is run by this program after it was run by hand.
pub(crate) fn forget_ourselves(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
}

/// Builds the binaries that make up a running Quartet.
pub(crate) fn build_parts(release: bool, signals: &Signals) -> anyhow::Result<()> {
    let mut arguments = vec!["build"];
    if release {
        arguments.push("--release");
    }
    for part in PARTS {
        arguments.extend(["--package", part]);
    }
    succeed(cargo(arguments), signals).context("the build failed; the compiler's message is above")
}

/// Builds what `cargo test --workspace` will run, service binaries included.
/// Not package by package: that would build the dependencies once more, with other features.
pub(crate) fn build_for_tests(signals: &Signals) -> anyhow::Result<()> {
    succeed(
        cargo(["build", "--workspace", "--bins", "--tests"]),
        signals,
    )
    .context("the build failed; the compiler's message is above")
}

/// Runs a command to its end; fails unless it succeeded.
pub(crate) fn succeed(mut command: Command, signals: &Signals) -> anyhow::Result<()> {
    let status = status(&mut command, signals)?;
    ensure!(status.success(), "{} ({status})", describe(&command));
    Ok(())
}

/// Runs a command to its end, which comes early when we are told to stop.
pub(crate) fn status(command: &mut Command, signals: &Signals) -> anyhow::Result<ExitStatus> {
    let mut child = command
        .spawn()
        .with_context(|| format!("start {}", describe(command)))?;
    loop {
        if let Some(status) = child.try_wait()? {
            if signals.received() {
                bail!("interrupted");
            }
            return Ok(status);
        }
        if signals.received() {
            end(&mut child, signals)?;
            bail!("interrupted");
        }
        sleep(POLL);
    }
}

fn end(child: &mut Child, signals: &Signals) -> anyhow::Result<()> {
    let deadline = Instant::now() + OWN_END;
    while signals.sent_by_terminal() && Instant::now() < deadline {
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        sleep(POLL);
    }
    if let Some(process) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process(process, Signal::TERM);
    }
    child.wait()?;
    Ok(())
}

fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let words: Vec<_> = std::iter::once(program.file_name().unwrap_or(program.as_os_str()))
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    words.join(" ")
}
