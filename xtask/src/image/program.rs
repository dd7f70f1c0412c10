//! Static programs, compiled on this machine.

use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use quartet_devstack::workspace;

use super::{CLIENT, Recipe};
use crate::cargo::{self, STACK, cargo, output};
use crate::signals::Signals;

/// The certificate authorities that Debian and its derivatives trust.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// What a service may write; volumes are mounted here.
const STATE: [&str; 2] = ["clicks", "s3"];

/// Compiles the binaries, with the C library linked in.
pub(super) fn build(
    binaries: &[&str],
    profile: &str,
    signals: &Signals,
) -> anyhow::Result<Vec<Recipe>> {
    ensure!(
        cfg!(target_os = "linux"),
        "programs for Linux cannot be compiled here; use --from-source"
    );
    // A separate directory, so that cargo does not lock out other builds of the same profile.
    let directory = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace::root().join("target"), PathBuf::from)
        .join("images");
    let target = format!("{ARCH}-unknown-linux-gnu");
    println!("Compiling {} ({profile}, static)", binaries.join(", "));
    let mut command = cargo(["build", "--locked", "--profile", profile, "--target"]);
    command
        .arg(&target)
        .arg("--target-dir")
        .arg(&directory)
        // With --target this applies to the programs only, not to what runs during the build.
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        // All packages are named, so that the features do not depend on what is built.
        .args(STACK.into_iter().flat_map(|package| ["--package", package]));
    if binaries.contains(&CLIENT) {
        command.args(["--package", "quartet-cli"]);
    }
    command.args(binaries.iter().flat_map(|binary| ["--bin", binary]));
    cargo::build(command, signals)?;
    let profile = if profile == "dev" { "debug" } else { profile };
    let programs = directory.join(target).join(profile);
    let pack = |name: &&str| {
        pack(
            name,
            &programs.join(name),
            &directory.join("context").join(name),
        )
    };
    binaries.iter().map(pack).collect()
}

/// Lays out a directory that an image is packed from.
fn pack(name: &str, program: &Path, context: &Path) -> anyhow::Result<Recipe> {
    if context.exists() {
        fs::remove_dir_all(context)?;
    }
    let rootfs = context.join("rootfs");
    copy(program, &rootfs.join("quartet"))?;
    let bundle = rootfs.join(CERTIFICATES.trim_start_matches('/'));
    copy(Path::new(CERTIFICATES), &bundle)
        .context("images contain the certificate authorities of this machine")?;
    // Parents that COPY creates implicitly get the owner of what is copied.
    fs::create_dir_all(rootfs.join("var/lib"))?;
    for name in STATE {
        fs::create_dir_all(context.join("state").join(name))?;
    }
    let printed = output(Command::new(program).arg("--version"))?;
    let version = printed.split_whitespace().nth(1);
    let version = version.context("the program prints no version")?;
    Ok(Recipe {
        binary: name.to_owned(),
        target: "prebuilt",
        context: context.to_path_buf(),
        arguments: vec![("VERSION", version.to_owned())],
    })
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
    Ok(())
}
