//! Programs from npm and `PyPI`, installed once per lock file into the target directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use quartet_devstack::workspace;

use crate::cargo::succeed;
use crate::signals::Signals;

const STAMP: &str = ".quartet-installed";

/// Installs what the lock file of an npm package says, unless it is there; gives
/// the directory of its programs.
pub(crate) fn npm(package: &Path, signals: &Signals) -> anyhow::Result<PathBuf> {
    let lock = read(&package.join("package-lock.json"))?;
    let modules = package.join("node_modules");
    once(&modules, &lock, || {
        require("npm", "install Node.js 20 or later")?;
        println!("Installing the programs of {}", package.display());
        let mut command = Command::new("npm");
        command.args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]);
        command.current_dir(package);
        succeed(command, signals)
    })?;
    Ok(modules.join(".bin"))
}

/// Makes a virtual environment with what a requirements file says, unless it is
/// there; gives the directory of its programs.
pub(crate) fn python(requirements: &Path, signals: &Signals) -> anyhow::Result<PathBuf> {
    let wanted = read(requirements)?;
    let environment = environment_of(requirements)?;
    let programs = environment.join("bin");
    once(&environment, &wanted, || {
        require("python3", "install Python 3.11 or later with venv")?;
        println!("Installing the programs of {}", requirements.display());
        if environment.exists() {
            fs::remove_dir_all(&environment)?;
        }
        let mut make = Command::new("python3");
        make.args(["-m", "venv"]).arg(&environment);
        succeed(make, signals)?;
        let mut install = Command::new(programs.join("python"));
        install.args(["-m", "pip", "install", "--quiet", "--requirement"]);
        install.arg(requirements);
        succeed(install, signals)
    })?;
    Ok(programs)
}

/// Runs `install` unless an earlier run ended well with the same lock.
fn once(
    directory: &Path,
    lock: &str,
    install: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let stamp = directory.join(STAMP);
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    install()?;
    fs::write(&stamp, lock).with_context(|| format!("write {}", stamp.display()))
}

/// One environment per requirements file: `target/tools/sdk-python`.
fn environment_of(requirements: &Path) -> anyhow::Result<PathBuf> {
    let root = workspace::root();
    let directory = requirements.parent().unwrap_or(&root);
    let name: Vec<_> = directory
        .strip_prefix(&root)
        .unwrap_or(directory)
        .components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect();
    let profile = workspace::profile_dir()?;
    let target = profile.parent().unwrap_or(&profile);
    Ok(target.join("tools").join(name.join("-")))
}

fn require(program: &str, advice: &str) -> anyhow::Result<()> {
    let found = Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    ensure!(found, "`{program}` is not here: {advice}");
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}
