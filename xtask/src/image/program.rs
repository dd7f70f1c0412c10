//! Static programs, compiled on this machine.

use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use quartet_devstack::workspace;

use super::engine::Recipe;
use super::options::CLIENT;
use crate::cargo::{PARTS, cargo, succeed};
use crate::signals::Signals;

/// The authorities that Debian and its kin trust.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// What a service may write; volumes are mounted on these.
const STATE: [&str; 2] = ["clicks", "s3"];

pub(crate) struct Program {
    name: String,
    path: PathBuf,
}

/// Compiles the binaries with the C library in them.
pub(crate) fn build(
    names: &[&str],
    profile: &str,
    signals: &Signals,
) -> anyhow::Result<Vec<Program>> {
    ensure!(
        cfg!(target_os = "linux"),
        "programs for Linux are not compiled here; use --from-source"
    );
    // A directory of its own: cargo would lock out every other build of the same profile.
    let directory = directory();
    let target = format!("{ARCH}-unknown-linux-gnu");
    println!("Compiling {} ({profile}, static)", names.join(", "));
    let mut command = cargo(["build", "--locked", "--profile", profile, "--target"]);
    command
        .arg(&target)
        .arg("--target-dir")
        .arg(&directory)
        // Because of --target this is for the programs only, not for what runs during the build.
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    // All packages are named so that cargo joins the same features, whatever is asked for.
    for package in PARTS {
        command.args(["--package", package]);
    }
    if names.contains(&CLIENT) {
        command.args(["--package", "quartet-cli"]);
    }
    for name in names {
        command.args(["--bin", name]);
    }
    succeed(command, signals).context("the build failed; the compiler's message is above")?;
    let built = directory
        .join(target)
        .join(if profile == "dev" { "debug" } else { profile });
    Ok(names
        .iter()
        .map(|&name| Program {
            name: name.to_owned(),
            path: built.join(name),
        })
        .collect())
}

impl Program {
    /// How an image is packed from it.
    pub(crate) fn recipe(&self) -> anyhow::Result<Recipe> {
        let context = directory().join("context").join(&self.name);
        if context.exists() {
            fs::remove_dir_all(&context)?;
        }
        let rootfs = context.join("rootfs");
        copy(&self.path, &rootfs.join("quartet"))?;
        copy(
            Path::new(CERTIFICATES),
            &rootfs.join(CERTIFICATES.trim_start_matches('/')),
        )
        .context("images carry this machine's list of certificate authorities")?;
        // Parents that COPY makes on its way get the owner of what is copied.
        fs::create_dir_all(rootfs.join("var/lib"))?;
        for name in STATE {
            fs::create_dir_all(context.join("state").join(name))?;
        }
        Ok(Recipe {
            binary: self.name.clone(),
            target: "prebuilt",
            context,
            arguments: vec![("VERSION", self.version()?)],
        })
    }

    fn version(&self) -> anyhow::Result<String> {
        let output = Command::new(&self.path)
            .arg("--version")
            .output()
            .with_context(|| format!("start {}", self.path.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.split_whitespace().nth(1);
        Ok(version.context("the program says no version")?.to_owned())
    }
}

/// Where cargo keeps what it builds for images.
fn directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace::root().join("target"), PathBuf::from)
        .join("images")
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
    Ok(())
}
