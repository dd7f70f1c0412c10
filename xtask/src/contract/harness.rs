//! Directories of binaries in the layout that the end-to-end tests of any release expect: the
//! services where `target/debug` has them, the test program in `deps`. The release needs to know
//! nothing about it, so that any commit can be compared with.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use quartet_devstack::workspace;

use super::Step;
use super::previous::BuiltRelease;
use crate::service::Service;

/// More whole stacks at the same time disturb each other.
const CONCURRENCY: &str = "--test-threads=2";

/// Tests whether a release serves the documents committed with it, which today's service does not.
const OWN_DOCUMENTS: &str = "the_documents_are_served_and_merged";

pub(super) struct Harness<'a> {
    built: &'a BuiltRelease,
    service: Service,
    directory: PathBuf,
    /// A copy of today's binary, which another build could replace in the meantime.
    today: PathBuf,
}

impl<'a> Harness<'a> {
    pub(super) fn new(
        built: &'a BuiltRelease,
        service: Service,
        binary: &Path,
    ) -> anyhow::Result<Self> {
        let directory = built.previous.scratch();
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("today"))?;
        let today = directory.join("today").join(service.package());
        fs::copy(binary, &today).with_context(|| format!("copy {}", binary.display()))?;
        Ok(Self {
            built,
            service,
            directory,
            today,
        })
    }

    /// The tests of the last release, with the binaries of a step.
    pub(super) fn tests(&self, step: Step) -> anyhow::Result<Command> {
        // The tests check responses of today's service against its document of today, so that
        // additions to a response are not a breach.
        let documents = (step == Step::Binary).then(workspace::root);
        let previous = &self.built.previous;
        previous.describe(self.service, documents.as_deref())?;
        let directory = self.directory.join(step.to_string());
        let deps = directory.join("deps");
        fs::create_dir_all(&deps)?;
        let replaced = self.service.package();
        let mut found = false;
        for program in &self.built.services {
            let name = program.file_name().context("a program without a name")?;
            let place = directory.join(name);
            if name == replaced.as_str() {
                found = true;
                self.replace(step, program, &place)?;
            } else {
                symlink(program, place)?;
            }
        }
        ensure!(found, "the last release has no {replaced}");
        // The test program looks beside itself, past symbolic links: it has to be a copy.
        let program = deps.join("it");
        fs::copy(&self.built.tests, &program)?;
        let package = previous.source().join("tests");
        let mut command = Command::new(program);
        if step == Step::Binary {
            command.args(["--skip", OWN_DOCUMENTS]);
        }
        command
            .arg(CONCURRENCY)
            // As cargo sets it: the tests find the source tree by it.
            .env("CARGO_MANIFEST_DIR", &package)
            .current_dir(package);
        Ok(command)
    }

    fn replace(&self, step: Step, released: &Path, place: &Path) -> anyhow::Result<()> {
        match step {
            Step::Baseline => symlink(released, place)?,
            Step::Binary => symlink(&self.today, place)?,
            Step::Schema => {
                fs::write(place, script(&self.today, released))?;
                fs::set_permissions(place, fs::Permissions::from_mode(0o755))?;
            }
        }
        Ok(())
    }
}

/// A script that migrates with one binary and does everything else with the other.
fn script(migrating: &Path, serving: &Path) -> String {
    let (migrating, serving) = (quoted(migrating), quoted(serving));
    format!(
        "#!/bin/sh\n\
         case \"$1\" in migrate) exec {migrating} \"$@\" ;; esac\n\
         exec {serving} \"$@\"\n"
    )
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::script;

    #[test]
    fn only_migrations_run_the_other_binary() {
        let script = script("/bin/echo".as_ref(), "/usr/bin/printf".as_ref());
        let run = |words: &[&str]| {
            let output = Command::new("sh")
                .args(["-c", &script, "core"])
                .args(words)
                .output();
            String::from_utf8(output.unwrap().stdout).unwrap()
        };
        assert_eq!(run(&["migrate", "now"]), "migrate now\n");
        assert_eq!(run(&["serve", "now"]), "serve");
    }
}
