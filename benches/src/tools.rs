//! Programs of others: finds, installs and runs them.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::bench::{Bench, Cores};

/// The program, installed from Debian if it is missing and that is possible.
///
/// # Errors
/// One line that says how to install it.
pub(crate) fn require(program: &str, package: &str) -> anyhow::Result<PathBuf> {
    if find(program).is_none() && rustix::process::geteuid().is_root() {
        println!("Installing {package} for {program}");
        // Whether it worked shows below.
        let _ = Command::new("apt-get")
            .args(["install", "--yes", "--no-install-recommends", package])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
    }
    find(program).with_context(|| {
        format!("{program} is missing; install it: `sudo apt-get install {package}`")
    })
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        // Debian installs servers here, which is not on every PATH.
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

/// Runs a command of some seconds on some cores; returns its standard output.
///
/// # Errors
/// With everything it wrote, unless it succeeded.
pub(crate) fn output(bench: &Bench, cores: Cores, command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = bench.on(cores, || command.stdin(Stdio::null()).output())?;
    let output = output.with_context(|| format!("start {name}"))?;
    bench.require_running()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{name} failed ({})\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

/// The first word that looks like a version, from either stream.
pub(crate) fn version(program: &str, argument: &str) -> Option<String> {
    let mut command = Command::new(find(program)?);
    let output = command.arg(argument).stdin(Stdio::null()).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    // Such as `nginx/1.22.1` and `v2.6.2`.
    let words = text.split_ascii_whitespace().map(|word| {
        let word = word.rsplit('/').next().unwrap_or(word);
        word.trim_start_matches('v')
    });
    let is_number = |word: &&str| word.starts_with(|first: char| first.is_ascii_digit());
    words.into_iter().find(is_number).map(str::to_owned)
}
