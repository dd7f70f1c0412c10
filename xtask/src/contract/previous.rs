//! The release before, checked out and built beside today's tree.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use quartet_devstack::workspace;
use serde::Deserialize;

use super::document;
use crate::cargo::{PARTS, forget_ourselves, succeed};
use crate::git;
use crate::signals::Signals;

/// The package and the test target that hold the end-to-end tests.
const TESTS: (&str, &str) = ("quartet-e2e", "it");

/// Its source. Kept for the next run, as what was built from it.
pub(crate) struct Previous {
    directory: PathBuf,
    lock: File,
}

/// The same with its binaries.
pub(crate) struct Built {
    pub(crate) previous: Previous,
    pub(crate) services: Vec<PathBuf>,
    /// The end-to-end tests.
    pub(crate) tests: PathBuf,
}

impl Previous {
    /// Lays the source tree of a commit into the target directory.
    pub(crate) fn check_out(
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
            bail!("another `cargo xtask contract` runs in this source tree");
        }
        let this = Self { directory, lock };
        let source = this.source();
        let mut command = if source.join(".git").exists() {
            let mut command = git::git(&source);
            command.args(["checkout", "--quiet", "--force", "--detach", &commit]);
            command
        } else {
            // Force: the place may be known from a target directory that is gone.
            let mut command = git::git(root);
            command.args(["worktree", "add", "--quiet", "--force", "--detach"]);
            command.arg(&source).arg(&commit);
            command
        };
        command.stdout(std::process::Stdio::null());
        succeed(command, signals).with_context(|| format!("check out {reference}"))?;
        Ok(this)
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.directory.join("source")
    }

    /// A place for what one run needs.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.directory.join("run")
    }

    /// Puts the document of a service as another tree has it into the source, without
    /// the operations that the release does not know; or the release's own again.
    pub(crate) fn describe(&self, service: &str, other: Option<&Path>) -> anyhow::Result<()> {
        let source = self.source();
        let document = format!("services/{service}/openapi.json");
        if git::output(&source, &["ls-files", &document])?.is_empty() {
            return Ok(());
        }
        let restore = ["checkout", "--quiet", "--force", "--", &document];
        git::output(&source, &restore)?;
        let theirs = other.map(|root| root.join(&document));
        if let Some(theirs) = theirs.filter(|path| path.is_file()) {
            let place = source.join(&document);
            let known = serde_json::from_str(&fs::read_to_string(&place)?)?;
            let theirs = serde_json::from_str(&fs::read_to_string(&theirs)?)?;
            fs::write(
                place,
                document::without_new_operations(theirs, &known).to_string(),
            )?;
        }
        Ok(())
    }

    /// Builds its services and its end-to-end tests.
    pub(crate) fn build(self, signals: &Signals) -> anyhow::Result<Built> {
        let mut services = vec!["build", "--bins"];
        services.extend(PARTS.into_iter().flat_map(|part| ["--package", part]));
        let services = self.build_programs(&services, signals)?;
        let (package, target) = TESTS;
        let tests = ["test", "--no-run", "--package", package, "--test", target];
        let tests = self.build_programs(&tests, signals)?;
        Ok(Built {
            services: services.into_iter().map(|program| program.path).collect(),
            tests: tests
                .into_iter()
                .find(|program| program.name == target)
                .context("its end-to-end tests are not where they were expected")?
                .path,
            previous: self,
        })
    }

    /// Runs its own cargo; gives the programs that this built.
    fn build_programs(&self, words: &[&str], signals: &Signals) -> anyhow::Result<Vec<Program>> {
        let messages = self.directory.join("messages.json");
        // By rustup's rules, which read the toolchain from the source tree; in a target
        // directory of its own, so that today's binaries stay what they are.
        let mut command = Command::new("cargo");
        command
            .args(words)
            .arg("--message-format=json-render-diagnostics")
            .current_dir(self.source())
            .env("CARGO_TARGET_DIR", self.directory.join("target"))
            .env_remove("RUSTUP_TOOLCHAIN")
            .stdout(File::create(&messages)?);
        forget_ourselves(&mut command);
        succeed(command, signals)?;
        programs(&fs::read_to_string(messages)?)
    }
}

impl Drop for Previous {
    fn drop(&mut self) {
        // The file itself stays: another run may already wait for it.
        let _ = self.lock.unlock();
    }
}

/// A program that cargo has built.
#[derive(Debug, PartialEq)]
struct Program {
    name: String,
    path: PathBuf,
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

fn programs(messages: &str) -> anyhow::Result<Vec<Program>> {
    let mut programs = Vec::new();
    for line in messages.lines() {
        let message: Message = serde_json::from_str(line).context("read what cargo printed")?;
        if message.reason != "compiler-artifact" {
            continue;
        }
        if let (Some(target), Some(path)) = (message.target, message.executable) {
            programs.push(Program {
                name: target.name,
                path,
            });
        }
    }
    ensure!(!programs.is_empty(), "cargo built no program");
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::{Program, programs};

    #[test]
    fn finds_programs_among_what_cargo_prints() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"serde"},"executable":null}"#,
            "\n",
            r#"{"reason":"build-script-executed","package_id":"a"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"it"},"executable":"/t/deps/it-1"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        let expected = Program {
            name: "it".into(),
            path: "/t/deps/it-1".into(),
        };
        assert_eq!(programs(messages).unwrap(), [expected]);
        assert!(programs(r#"{"reason":"build-finished","success":true}"#).is_err());
    }
}
