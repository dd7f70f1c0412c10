//! The user that Postgres runs as: it refuses to run as root.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::command::output;

/// A user to run a program as.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: &'static str,
    uid: u32,
    gid: u32,
}

impl User {
    /// The user to run Postgres as; `None` for the current one.
    pub(crate) fn for_postgres() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let mut names = ["postgres", "nobody"].into_iter();
        let found = names.find_map(|name| {
            let (uid, gid) = (id("-u", name)?, id("-g", name)?);
            Some(Self { name, uid, gid })
        });
        found
            .map(Some)
            .context("Postgres cannot run as root, and there is no user postgres or nobody")
    }

    /// Runs the command as this user, in a directory that it can read.
    pub(crate) fn apply(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid).current_dir("/");
    }

    pub(crate) fn own(&self, path: &Path) -> Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
            .with_context(|| format!("change the owner of {} to {}", path.display(), self.name))
    }

    /// Whether this user may pass through every directory down to `path`, as far as they exist.
    pub(crate) fn reaches(&self, path: &Path) -> bool {
        let mut directories = path.ancestors();
        let Some(path) = directories.find(|directory| directory.is_dir()) else {
            return false;
        };
        let mut test = Command::new("test");
        self.apply(&mut test);
        let status = test.arg("-x").arg(path).stdin(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }
}

fn id(kind: &str, name: &str) -> Option<u32> {
    let printed = output(Command::new("id").args([kind, name])).ok()?;
    printed.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::User;

    /// Only root can ask as another user.
    #[test]
    fn closed_directories_are_out_of_reach() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("inner");
        fs::create_dir_all(&inner).unwrap();
        let user = User::for_postgres().unwrap().unwrap();
        let reaches = |mode| {
            fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
            [user.reaches(&inner), user.reaches(&inner.join("missing"))]
        };
        assert_eq!(reaches(0o711), [true, true]);
        assert_eq!(reaches(0o700), [false, false]);
    }
}
