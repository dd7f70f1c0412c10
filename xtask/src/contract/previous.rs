//! The last release, checked out and built beside today's tree.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::document;
use crate::cargo::{STACK, command, packages, remove_cargo_environment, succeed};
use crate::git;
use crate::tools::target_directory;

/// The source of the release. It is kept for the next run, as is everything built from it.
pub(super) struct PreviousRelease {
    directory: PathBuf,
    /// Held while this value lives. The file itself stays: another run may already wait for it.
    _lock: File,
}

impl PreviousRelease {
    /// Checks out a commit inside the target directory.
    pub(super) fn check_out(root: &Path, reference: &str) -> anyhow::Result<Self> {
        let commit = git::commit(root, reference)?;
        let directory = target_directory()?.join("contract");
        fs::create_dir_all(&directory)?;
        let lock = File::create(directory.join("lock"))?;
        if lock.try_lock().is_err() {
            bail!("another `cargo xtask contract` is running in this source tree");
        }
        let this = Self {
            directory,
            _lock: lock,
        };
        let source = this.source();
        let mut checkout = if source.join(".git").exists() {
            git::git(&source, &["checkout", "--quiet", "--force", "--detach"])
        } else {
            // Force: git may know the path from a target directory that was removed.
            let add = ["worktree", "add", "--quiet", "--force", "--detach"];
            let mut command = git::git(root, &add);
            command.arg(&source);
            command
        };
        checkout.arg(commit).stdout(Stdio::null());
        succeed(checkout).with_context(|| format!("check out {reference}"))?;
        Ok(this)
    }

    pub(super) fn source(&self) -> PathBuf {
        self.directory.join("source")
    }

    /// A directory for the files of one run.
    pub(super) fn scratch(&self) -> PathBuf {
        self.directory.join("run")
    }

    /// Replaces the document of a service by that of another tree, without the operations that the
    /// release does not have; without another tree restores the document of the release.
    pub(super) fn describe(&self, service: &str, other: Option<&Path>) -> anyhow::Result<()> {
        let source = self.source();
        let document = format!("services/{service}/openapi.json");
        if git::output(&source, &["ls-files", &document])?.is_empty() {
            return Ok(());
        }
        let restore = ["checkout", "--quiet", "--force", "--", &document];
        git::output(&source, &restore)?;
        let today = other.map(|root| root.join(&document));
        if let Some(today) = today.filter(|path| path.is_file()) {
            let place = source.join(&document);
            let released = serde_json::from_str(&fs::read_to_string(&place)?)?;
            let today = serde_json::from_str(&fs::read_to_string(&today)?)?;
            let described = document::without_new_operations(today, &released);
            fs::write(place, described.to_string())?;
        }
        Ok(())
    }

    /// Builds its services and its end-to-end tests.
    pub(super) fn build(&self) -> anyhow::Result<()> {
        let mut services = self.cargo(&["build", "--bins"]);
        services.args(packages(STACK));
        succeed(services)?;
        let mut tests = self.tests();
        tests.arg("--no-run");
        succeed(tests)
    }

    /// Its end-to-end tests.
    pub(super) fn tests(&self) -> Command {
        self.cargo(&["test", "--package=quartet-e2e", "--test=it"])
    }

    /// A program that it built, where its tests find it.
    pub(super) fn program(&self, package: &str) -> PathBuf {
        self.directory.join("target/debug").join(package)
    }

    /// The cargo of the release: rustup selects the toolchain by the source tree. The target
    /// directory is a separate one, so that today's binaries stay what they are.
    fn cargo(&self, words: &[&str]) -> Command {
        let mut cargo = command("cargo", words);
        cargo
            .current_dir(self.source())
            .env("CARGO_TARGET_DIR", self.directory.join("target"))
            .env_remove("RUSTUP_TOOLCHAIN");
        remove_cargo_environment(&mut cargo);
        cargo
    }
}
