//! Programs from npm, `PyPI` and crates.io, installed once per lock file or version.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use quartet_devstack::workspace;

use crate::cargo::{command, output, succeed};

const STAMP: &str = ".quartet-installed";

/// Installs what a `package-lock.json` or a file of requirements says, unless it is installed
/// already; returns the directory of the programs.
pub(crate) fn install(lock: &Path) -> anyhow::Result<PathBuf> {
    let is_npm = lock.extension().is_some_and(|it| it == "json");
    let package = lock.parent().context("a lock file without a directory")?;
    let (directory, programs) = if is_npm {
        (package.join("node_modules"), ".bin")
    } else {
        (environment_of(package)?, "bin")
    };
    let programs = directory.join(programs);
    let locked = fs::read_to_string(lock).with_context(|| format!("read {}", lock.display()))?;
    let stamp = directory.join(STAMP);
    // An earlier run succeeded with the same lock file.
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == locked) {
        return Ok(programs);
    }
    println!("Installing the programs of {}", lock.display());
    if is_npm {
        npm(package)?;
    } else {
        python(&directory, lock)?;
    }
    fs::write(&stamp, locked).with_context(|| format!("write {}", stamp.display()))?;
    Ok(programs)
}

fn npm(package: &Path) -> anyhow::Result<()> {
    require("npm", "install Node.js 20 or later")?;
    let mut npm = command("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"]);
    npm.current_dir(package);
    succeed(npm)
}

fn python(environment: &Path, requirements: &Path) -> anyhow::Result<()> {
    require("python3", "install Python 3.11 or later with venv")?;
    let mut create = command("python3", ["-m", "venv", "--clear"]);
    create.arg(environment);
    succeed(create)?;
    let words = ["-m", "pip", "install", "--quiet", "--requirement"];
    let mut install = command(environment.join("bin/python"), words);
    install.arg(requirements);
    succeed(install)
}

fn require(program: &str, advice: &str) -> anyhow::Result<()> {
    let works = output(&mut command(program, ["--version"])).is_ok();
    ensure!(works, "`{program}` is missing: {advice}");
    Ok(())
}

/// One environment per package, such as `target/tools/sdk-python`.
fn environment_of(package: &Path) -> anyhow::Result<PathBuf> {
    let root = workspace::root();
    let name = package.strip_prefix(&root).unwrap_or(package);
    let name = name.to_string_lossy().replace('/', "-");
    Ok(target_directory()?.join("tools").join(name))
}

/// Compiles a program from crates.io, unless this version is installed already; returns its path.
pub(crate) fn cargo(name: &str, version: &str) -> anyhow::Result<PathBuf> {
    let on_path = output(&mut command(name, ["--version"]));
    if on_path.is_ok_and(|printed| printed.ends_with(version)) {
        return Ok(name.into());
    }
    let directory = target_directory()?.join(format!("tools/{name}-{version}"));
    let program = directory.join("bin").join(name);
    if !program.is_file() {
        println!("Installing {name} {version}");
        let mut install = crate::cargo::cargo(["install", "--quiet", "--locked", "--debug"]);
        install.arg("--root").arg(&directory);
        // Compiles in half the time of a release, and is fast enough.
        install.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
        install.env("CARGO_PROFILE_DEV_DEBUG", "0");
        install.arg(format!("{name}@{version}"));
        succeed(install)?;
    }
    Ok(program)
}

/// Where cargo has a directory per profile.
pub(crate) fn target_directory() -> anyhow::Result<PathBuf> {
    let profile = workspace::profile_dir()?;
    Ok(profile.parent().unwrap_or(&profile).to_path_buf())
}
