//! The last release, checked out and built beside today's tree.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

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

    /// Builds its services and its end-to-end tests; returns their programs.
    pub(super) fn build(&self) -> anyhow::Result<(Vec<PathBuf>, PathBuf)> {
        let mut words = vec!["build", "--bins"];
        words.extend(packages(STACK));
        let services = self.build_programs(&words)?;
        let words = [
            "test",
            "--no-run",
            "--package",
            "quartet-e2e",
            "--test",
            "it",
        ];
        let tests = self.build_programs(&words)?;
        let mut tests = tests.into_iter().filter(|(name, _)| name == "it");
        let (_, tests) = tests.next().context("it has no end-to-end tests")?;
        Ok((services.into_iter().map(|(_, path)| path).collect(), tests))
    }

    /// Runs the cargo of the release; returns the name and the path of each program it built.
    fn build_programs(&self, words: &[&str]) -> anyhow::Result<Vec<(String, PathBuf)>> {
        let messages = self.directory.join("messages.json");
        // rustup selects the toolchain by the source tree. The target directory is a separate one,
        // so that today's binaries stay what they are.
        let mut cargo = command("cargo", words);
        cargo
            .arg("--message-format=json-render-diagnostics")
            .current_dir(self.source())
            .env("CARGO_TARGET_DIR", self.directory.join("target"))
            .env_remove("RUSTUP_TOOLCHAIN")
            .stdout(File::create(&messages)?);
        remove_cargo_environment(&mut cargo);
        succeed(cargo)?;
        programs(&fs::read_to_string(messages)?)
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
