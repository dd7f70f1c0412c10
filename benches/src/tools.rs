//! Programs of others: finding them, installing them, running them.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use quartet_devstack::Cancel;

const POLL: Duration = Duration::from_millis(10);

/// The program, installed from Debian when it is missing and that is possible.
///
/// # Errors
/// One line that says how to get it.
pub(crate) fn require(program: &str, package: &str) -> anyhow::Result<PathBuf> {
    if let Some(path) = find(program) {
        return Ok(path);
    }
    if may_install() {
        println!("Installing {package} for {program}");
        // Its own words are of interest only when it fails.
        let output = Command::new("apt-get")
            .args(["install", "--yes", "--no-install-recommends", package])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .output()
            .context("start apt-get")?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!(
                "{program} is missing, and apt-get could not install {package}: {}",
                text.trim()
            );
        }
    }
    find(program).with_context(|| {
        format!("{program} is missing; install it: `sudo apt-get install {package}`")
    })
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        // Where Debian puts servers; not on everybody's PATH.
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

fn may_install() -> bool {
    rustix::process::geteuid().is_root() && find("apt-get").is_some()
}

/// Runs a command to its end, or ends it when the run is to end.
///
/// # Errors
/// With everything it wrote, unless it succeeded.
pub(crate) fn output(command: &mut Command, cancel: &Cancel) -> anyhow::Result<Output> {
    let name = in_words(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {name}"))?;
    // What these commands write fits into a pipe.
    while child.try_wait()?.is_none() {
        if cancel.is_set() {
            let _ = child.kill();
            let _ = child.wait();
            bail!("interrupted");
        }
        sleep(POLL);
    }
    let output = child.wait_with_output()?;
    let text =
        || String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned();
    ensure!(
        output.status.success(),
        "{name} failed ({})\n{}",
        output.status,
        text().trim()
    );
    Ok(output)
}

/// The first line that mentions a version, from either stream.
pub(crate) fn version(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(find(program)?)
        .arg(argument)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    // HAProxy and Postgres add a date or a packager behind the number.
    text.split_ascii_whitespace()
        .map(|word| {
            word.rsplit('/')
                .next()
                .unwrap_or(word)
                .trim_start_matches('v')
        })
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()))
        .map(str::to_owned)
}

fn in_words(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
