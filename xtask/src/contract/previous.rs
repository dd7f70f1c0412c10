//! The last release, checked out and built beside today's tree.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use quartet_devstack::workspace;
use serde_json::Value;

use super::document;
use crate::cargo::{STACK, remove_cargo_environment, succeed};
use crate::git;
use crate::service::Service;
use crate::signals::Signals;

/// The package and the test target of the end-to-end tests.
const TESTS: (&str, &str) = ("quartet-e2e", "it");

/// The source of the release. It is kept for the next run, as is everything built from it.
pub(super) struct PreviousRelease {
    directory: PathBuf,
    lock: File,
}

/// The same with its binaries.
pub(super) struct BuiltRelease {
    pub(super) previous: PreviousRelease,
    pub(super) services: Vec<PathBuf>,
    /// The end-to-end tests.
    pub(super) tests: PathBuf,
}

impl PreviousRelease {
    /// Checks out a commit inside the target directory.
    pub(super) fn check_out(
        root: &Path,
        reference: &str,
        signals: &Signals,
    ) -> anyhow::Result<Self> {
        let commit = git::commit(root, reference)?;
        let profile = workspace::profile_dir()?;
        let directory = profile.parent().unwrap_or(&profile).join("contract");
        fs::create_dir_all(&directory)?;
        let lock = File::create(directory.join("lock"))?;
        if lock.try_lock().is_err() {
            bail!("another `cargo xtask contract` is running in this source tree");
        }
        let this = Self { directory, lock };
        let source = this.source();
        let mut command = if source.join(".git").exists() {
            git::git(
                &source,
                ["checkout", "--quiet", "--force", "--detach", &commit],
            )
        } else {
            // Force: git may know the path from a target directory that was removed.
            let add = ["worktree", "add", "--quiet", "--force", "--detach"];
            let mut command = git::git(root, add);
            command.arg(&source).arg(&commit);
            command
        };
        command.stdout(Stdio::null());
        succeed(command, signals).with_context(|| format!("check out {reference}"))?;
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
    pub(super) fn describe(&self, service: Service, other: Option<&Path>) -> anyhow::Result<()> {
        let source = self.source();
        let document = service.file("openapi.json");
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
    pub(super) fn build(self, signals: &Signals) -> anyhow::Result<BuiltRelease> {
        let mut services = vec!["build", "--bins"];
        services.extend(STACK.into_iter().flat_map(|package| ["--package", package]));
        let services = self.build_programs(&services, signals)?;
        let (package, target) = TESTS;
        let tests = ["test", "--no-run", "--package", package, "--test", target];
        let tests = self.build_programs(&tests, signals)?;
        let tests = tests.into_iter().find(|(name, _)| name == target);
        Ok(BuiltRelease {
            services: services.into_iter().map(|(_, path)| path).collect(),
            tests: tests.context("it has no end-to-end tests")?.1,
            previous: self,
        })
    }

    /// Runs the cargo of the release; returns the name and the path of each program it built.
    fn build_programs(
        &self,
        words: &[&str],
        signals: &Signals,
    ) -> anyhow::Result<Vec<(String, PathBuf)>> {
        let messages = self.directory.join("messages.json");
        // rustup selects the toolchain by the source tree. The target directory is a separate one,
        // so that today's binaries stay what they are.
        let mut command = Command::new("cargo");
        command
            .args(words)
            .arg("--message-format=json-render-diagnostics")
            .current_dir(self.source())
            .env("CARGO_TARGET_DIR", self.directory.join("target"))
            .env_remove("RUSTUP_TOOLCHAIN")
            .stdout(File::create(&messages)?);
        remove_cargo_environment(&mut command);
        succeed(command, signals)?;
        programs(&fs::read_to_string(messages)?)
    }
}

impl Drop for PreviousRelease {
    fn drop(&mut self) {
        // The file itself stays: another run may already wait for it.
        let _ = self.lock.unlock();
    }
}

/// The programs among the messages of cargo.
fn programs(messages: &str) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut programs = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).context("read the messages of cargo")?;
        let name = message["target"]["name"].as_str();
        if let (Some(name), Some(path)) = (name, message["executable"].as_str()) {
            programs.push((name.to_owned(), path.into()));
        }
    }
    ensure!(!programs.is_empty(), "cargo built no program");
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::programs;

    #[test]
    fn programs_are_found_among_the_messages_of_cargo() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"serde"},"executable":null}"#,
            "\n",
            r#"{"reason":"build-script-executed","package_id":"a"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"it"},"executable":"/t/deps/it-1"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        let expected = ("it".into(), "/t/deps/it-1".into());
        assert_eq!(programs(messages).unwrap(), [expected]);
        assert!(programs(r#"{"reason":"build-finished","success":true}"#).is_err());
    }
}
