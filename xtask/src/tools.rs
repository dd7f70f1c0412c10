//! Programs from npm, `PyPI` and crates.io, installed once per lock file or version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use quartet_devstack::workspace;

use crate::cargo::{output, succeed};
use crate::signals::Signals;

const STAMP: &str = ".quartet-installed";

/// Installs what a `package-lock.json` or a file of requirements says, unless it is installed
/// already; returns the directory of the programs.
pub(crate) fn install(lock: &Path, signals: &Signals) -> anyhow::Result<PathBuf> {
    if lock.extension().is_some_and(|it| it == "json") {
        npm(lock, signals)
    } else {
        python(lock, signals)
    }
}

fn npm(lock: &Path, signals: &Signals) -> anyhow::Result<PathBuf> {
    let package = lock.with_file_name("");
    let modules = package.join("node_modules");
    once(&modules, lock, || {
        require("npm", "install Node.js 20 or later")?;
        let mut command = Command::new("npm");
        command.args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]);
        command.current_dir(package);
        succeed(command, signals)
    })?;
    Ok(modules.join(".bin"))
}

fn python(requirements: &Path, signals: &Signals) -> anyhow::Result<PathBuf> {
    let environment = environment_of(requirements)?;
    let programs = environment.join("bin");
    once(&environment, requirements, || {
        require("python3", "install Python 3.11 or later with venv")?;
        if environment.exists() {
            fs::remove_dir_all(&environment)?;
        }
        let mut create = Command::new("python3");
        create.args(["-m", "venv"]).arg(&environment);
        succeed(create, signals)?;
        let mut install = Command::new(programs.join("python"));
        install.args(["-m", "pip", "install", "--quiet", "--requirement"]);
        install.arg(requirements);
        succeed(install, signals)
    })?;
    Ok(programs)
}

/// Compiles a program from crates.io, unless this version is installed already; returns its path.
pub(crate) fn cargo(name: &str, version: &str, signals: &Signals) -> anyhow::Result<PathBuf> {
    let on_path = output(Command::new(name).arg("--version"));
    if on_path.is_ok_and(|printed| printed.ends_with(version)) {
        return Ok(name.into());
    }
    let directory = target_directory()?
        .join("tools")
        .join(format!("{name}-{version}"));
    let program = directory.join("bin").join(name);
    if !program.is_file() {
        println!("Installing {name} {version}");
        let mut install = crate::cargo::cargo(["install", "--quiet", "--locked", "--debug"]);
        install.arg("--root").arg(&directory);
        // Compiles in half the time of a release, and is fast enough.
        install.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
        install.env("CARGO_PROFILE_DEV_DEBUG", "0");
        install.arg(format!("{name}@{version}"));
        succeed(install, signals)?;
    }
    Ok(program)
}

/// Runs `install` unless an earlier run succeeded with the same lock file.
fn once(
    directory: &Path,
    lock: &Path,
    install: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let locked = fs::read_to_string(lock).with_context(|| format!("read {}", lock.display()))?;
    let stamp = directory.join(STAMP);
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == locked) {
        return Ok(());
    }
    println!("Installing the programs of {}", lock.display());
    install()?;
    fs::write(&stamp, locked).with_context(|| format!("write {}", stamp.display()))
}

/// One environment per file of requirements, such as `target/tools/sdk-python`.
fn environment_of(requirements: &Path) -> anyhow::Result<PathBuf> {
    let root = workspace::root();
    let directory = requirements.parent().unwrap_or(&root);
    let name: Vec<_> = directory
        .strip_prefix(&root)
        .unwrap_or(directory)
        .components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect();
    Ok(target_directory()?.join("tools").join(name.join("-")))
}

/// Where cargo has a directory per profile.
pub(crate) fn target_directory() -> anyhow::Result<PathBuf> {
    let profile = workspace::profile_dir()?;
    Ok(profile.parent().unwrap_or(&profile).to_path_buf())
}

fn require(program: &str, advice: &str) -> anyhow::Result<()> {
    let found = Command::new(program).arg("--version").output();
    let works = found.is_ok_and(|output| output.status.success());
    ensure!(works, "`{program}` is missing: {advice}");
    Ok(())
}
