//! Gets Postgres when it is not on the machine, without user interaction: by the package manager
//! where that needs no password; otherwise by the helper program `quartet-devpostgres`, which is
//! built only when it is needed, since its dependencies are many.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::Say;
use super::programs::{self, OLDEST_MAJOR, Programs};
use crate::user::User;
use crate::workspace;

const BY_PACKAGE_MANAGER: &str = include_str!("install.sh");
const HELPER: &str = "quartet-devpostgres";
/// What an error shows of the output of a program.
const LAST_LINES: usize = 5;

type Attempt = fn(Say) -> Result<()>;

pub(crate) fn install(say: Say, user: Option<&User>) -> Result<Programs> {
    let mut tried = Vec::new();
    for attempt in [by_package_manager as Attempt, download] {
        let reason = match attempt(say) {
            Ok(()) => match programs::find_all(user).into_iter().next() {
                Some(found) => return Ok(found),
                None => "what was installed is no usable server".to_owned(),
            },
            Err(error) => format!("{error:#}"),
        };
        tried.push(format!("  {reason}\n"));
    }
    let tried = tried.concat();
    bail!(
        "no Postgres {OLDEST_MAJOR} or later was found, and none could be installed.\n{tried}\
         Install one (Debian, Ubuntu: `apt-get install postgresql`; macOS: `brew install postgresql@17`) \
         or set DATABASE_URL to a server on which you are an administrator."
    )
}

fn by_package_manager(say: Say) -> Result<()> {
    say("Postgres: not found; installing it by the package manager");
    let mut script = Command::new("sh");
    script.args(["-c", BY_PACKAGE_MANAGER, "install.sh"]);
    run("the package manager", script.arg(OLDEST_MAJOR.to_string()))
}

/// Where downloaded versions are kept, for all source trees of this user.
pub(crate) fn downloads() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        // The server runs under another user, which cannot enter /root.
        return PathBuf::from("/var/cache/quartet/postgres");
    }
    env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cache")))
        .unwrap_or_else(env::temp_dir)
        .join("quartet/postgres")
}

fn download(say: Say) -> Result<()> {
    say("Postgres: not found; building its download helper (a few minutes, once)");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", HELPER]);
    run(
        "the build of the download helper",
        cargo.current_dir(workspace::root()),
    )?;
    let directory = downloads();
    say(&format!("Postgres: downloading to {}", directory.display()));
    let mut helper = Command::new(workspace::binary(HELPER)?);
    run("the download", helper.arg(directory))
}

fn run(what: &str, command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("{what} could not be started"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.trim().lines().collect();
    let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n    ");
    bail!("{what} failed: {last}")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::BY_PACKAGE_MANAGER;

    /// Runs the script with a fake of apt, and returns what it has been asked to do.
    fn install(candidate: &str) -> (String, String) {
        let directory = tempfile::tempdir().unwrap();
        let calls = directory.path().join("calls");
        let fake = |name: &str, script: String| {
            let path = directory.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        fake("apt-cache", format!("echo '  Candidate: {candidate}'"));
        fake("apt-get", format!("echo \"$@\" >> {}", calls.display()));
        fake("sudo", "shift; exec \"$@\"".to_owned());
        let path = format!("{}:/usr/bin:/bin", directory.path().display());
        let script = BY_PACKAGE_MANAGER.replace("/etc/postgresql-common", "$PWD");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script, "install.sh", "15"]);
        shell.env("PATH", path).current_dir(directory.path());
        let output = shell.output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        (fs::read_to_string(calls).unwrap_or_default(), errors)
    }

    #[test]
    fn apt_installs_what_is_new_enough() {
        let (calls, _) = install("15+248");
        assert!(calls.ends_with("postgresql\n"), "{calls}");
        assert!(!calls.contains("update"), "{calls}");
        let (calls, errors) = install("13.9-1");
        assert_eq!(calls, "");
        assert!(errors.contains("Postgres 13, which is too old"), "{errors}");
        let (calls, errors) = install("(none)");
        assert_eq!(calls, "update\n");
        assert!(errors.contains("no package postgresql"), "{errors}");
    }
}
