//! Programs of others: finds and runs them.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use quartet_devstack::command::{self, find};

use crate::bench::{Bench, Cores};

/// The program, or one line that says how to install it.
pub(crate) fn require(program: &str, package: &str) -> anyhow::Result<PathBuf> {
    let missing = || format!("{program} is missing: `sudo apt-get install {package}`");
    find(program).with_context(missing)
}

/// Runs a command of some seconds on some cores; returns its standard output.
///
/// # Errors
/// With everything it wrote, unless it succeeded.
pub(crate) fn output(bench: &Bench, cores: Cores, command: &mut Command) -> anyhow::Result<String> {
    let output = bench.on(cores, || command::output(command.stdin(Stdio::null())))?;
    bench.require_running()?;
    output
}

/// The first word that looks like a version, from either stream.
pub(crate) fn version(program: &str, argument: &str) -> Option<String> {
    let mut command = Command::new(find(program)?);
    let output = command.arg(argument).stdin(Stdio::null()).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    // Such as `nginx/1.22.1` and `v2.6.2`.
    let mut words = text.split(|it: char| it.is_ascii_whitespace() || it == '/');
    let is_version = |word: &&str| word.starts_with(|first: char| first.is_ascii_digit());
    words.find_map(|word| {
        Some(word.trim_start_matches('v'))
            .filter(is_version)
            .map(str::to_owned)
    })
}
