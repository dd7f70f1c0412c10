//! Programs of others: finds, installs and runs them.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use crate::bench::{Bench, Cores};

const POLL: Duration = Duration::from_millis(10);

/// The program, installed from Debian if it is missing and that is possible.
///
/// # Errors
/// One line that says how to install it.
pub(crate) fn require(program: &str, package: &str) -> anyhow::Result<PathBuf> {
    if let Some(path) = find(program) {
        return Ok(path);
    }
    let advice = format!("{program} is missing; install it: `sudo apt-get install {package}`");
    if rustix::process::geteuid().is_root() && find("apt-get").is_some() {
        println!("Installing {package} for {program}");
        let output = Command::new("apt-get")
            .args(["install", "--yes", "--no-install-recommends", package])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .output()
            .context("start apt-get")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{advice}: {}", errors.trim());
    }
    find(program).context(advice)
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        // Debian installs servers here, which is not on every PATH.
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

/// Runs a command on some cores until it ends, or ends it if the run is interrupted; returns its
/// standard output.
///
/// # Errors
/// With everything it wrote, unless it succeeded.
pub(crate) fn output(bench: &Bench, cores: Cores, command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = bench.on(cores, || command.spawn())?;
    let mut child = child.with_context(|| format!("start {name}"))?;
    // The output of these commands fits into a pipe.
    while child.try_wait()?.is_none() {
        if bench.cancel.is_set() {
            let _ = child.kill();
            let _ = child.wait();
            bail!("interrupted");
        }
        sleep(POLL);
    }
    let output = child.wait_with_output()?;
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
    let output = Command::new(find(program)?)
        .arg(argument)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    // Such as `nginx/1.22.1` and `v2.6.2`.
    let words = text.split_ascii_whitespace().map(|word| {
        let word = word.rsplit('/').next().unwrap_or(word);
        word.trim_start_matches('v')
    });
    let is_number = |word: &&str| word.starts_with(|first: char| first.is_ascii_digit());
    words.into_iter().find(is_number).map(str::to_owned)
}
