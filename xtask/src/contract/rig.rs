//! Directories of binaries, laid out as the end-to-end tests of any release expect
//! them: the services where `target/debug` has them, the test program in `deps`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use quartet_devstack::workspace;

use super::Step;
use super::previous::Built;

/// Whole stacks: more at once disturb each other.
const STACKS_AT_ONCE: &str = "--test-threads=2";

/// The test whether a release serves the documents that are committed with it, which
/// today's service does not.
const ABOUT_ITSELF: &str = "the_documents_are_served_and_merged";

pub(crate) struct Rig<'a> {
    built: &'a Built,
    service: &'a str,
    directory: PathBuf,
    /// The name of the exchanged binary, and a copy of today's.
    name: String,
    today: PathBuf,
}

impl<'a> Rig<'a> {
    /// Copies today's binary, which another build could replace meanwhile.
    pub(crate) fn new(built: &'a Built, service: &'a str, binary: &Path) -> anyhow::Result<Self> {
        let directory = built.previous.scratch();
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("today"))?;
        let name = format!("quartet-{service}");
        let today = directory.join("today").join(&name);
        fs::copy(binary, &today).with_context(|| format!("copy {}", binary.display()))?;
        Ok(Self {
            built,
            service,
            directory,
            name,
            today,
        })
    }

    /// The tests of the release before, on the binaries of a step.
    pub(crate) fn tests(&self, step: Step) -> anyhow::Result<Command> {
        // The tests hold the answers of today's service against today's description of
        // them, so that what was added to an answer since is no breach.
        let documents = (step == Step::Binary).then(workspace::root);
        self.built
            .previous
            .describe(self.service, documents.as_deref())?;
        let directory = self.directory.join(step.name());
        let deps = directory.join("deps");
        fs::create_dir_all(&deps)?;
        let mut exchanged = false;
        for service in &self.built.services {
            let name = service.file_name().context("a program without a name")?;
            let place = directory.join(name);
            if name == self.name.as_str() {
                exchanged = true;
                self.exchange(step, service, &place)?;
            } else {
                symlink(service, place)?;
            }
        }
        ensure!(exchanged, "the release before has no {}", self.name);
        // The test program looks beside itself, past symbolic links: it needs a copy.
        let program = deps.join("it");
        fs::copy(&self.built.tests, &program)?;
        let package = self.built.previous.source().join("tests");
        let mut command = Command::new(program);
        if step == Step::Binary {
            command.args(["--skip", ABOUT_ITSELF]);
        }
        command
            .arg(STACKS_AT_ONCE)
            // By this it finds the source tree, as cargo would tell it.
            .env("CARGO_MANIFEST_DIR", &package)
            .current_dir(package);
        Ok(command)
    }

    fn exchange(&self, step: Step, service: &Path, place: &Path) -> anyhow::Result<()> {
        match step {
            Step::Baseline => symlink(service, place)?,
            Step::Binary => symlink(&self.today, place)?,
            Step::Schema => {
                fs::write(place, either(&self.today, service))?;
                fs::set_permissions(place, fs::Permissions::from_mode(0o755))?;
            }
        }
        Ok(())
    }
}

/// A script that migrates with one binary and does everything else with the other.
fn either(migrating: &Path, serving: &Path) -> String {
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

    use super::either;

    #[test]
    fn only_migrations_go_to_the_other_binary() {
        let script = either("/bin/echo".as_ref(), "/usr/bin/printf".as_ref());
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
