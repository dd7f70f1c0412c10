//! The user that Postgres runs as: it refuses to run as root.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::error::{Doing as _, Error, Result};

/// A user to run a program as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// The user to run Postgres as; `None` for the current one.
    pub(crate) fn for_postgres() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| find(&accounts, name))
            .map(Some)
            .ok_or_else(|| {
                Error::other("Postgres cannot run as root, and there is no user postgres or nobody")
            })
    }

    /// Runs the command as this user.
    pub(crate) fn apply(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    pub(crate) fn own(&self, path: &Path) -> Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
            .doing(|| format!("change the owner of {} to {}", path.display(), self.name))
    }

    /// Whether this user may pass through every directory down to `path`.
    pub(crate) fn reaches(&self, path: &Path) -> bool {
        path.ancestors()
            .filter_map(|directory| fs::metadata(directory).ok())
            .all(|directory| self.may_pass(&directory))
    }

    fn may_pass(&self, directory: &Metadata) -> bool {
        let mode = directory.mode();
        if directory.uid() == self.uid {
            mode & 0o100 != 0
        } else if directory.gid() == self.gid {
            mode & 0o010 != 0
        } else {
            mode & 0o001 != 0
        }
    }
}

fn find(accounts: &str, name: &str) -> Option<User> {
    accounts.lines().find_map(|line| {
        let columns: Vec<&str> = line.split(':').collect();
        (columns.first() == Some(&name)).then_some(())?;
        Some(User {
            name: name.to_owned(),
            uid: columns.get(2)?.parse().ok()?,
            gid: columns.get(3)?.parse().ok()?,
        })
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::{User, find};

    #[test]
    fn reads_accounts() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533:n:/:/bin/false\n";
        let user = find(accounts, "nobody").unwrap();
        assert_eq!((user.uid, user.gid), (65534, 65533));
        assert_eq!(find(accounts, "postgres"), None);
    }

    #[test]
    fn closed_directories_are_out_of_reach() {
        let directory = std::env::temp_dir().join(format!("quartet-reach-{}", std::process::id()));
        let inner = directory.join("inner");
        fs::create_dir_all(&inner).unwrap();
        let stranger = User {
            name: "stranger".to_owned(),
            uid: 4_000_000,
            gid: 4_000_000,
        };
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o711)).unwrap();
        let open = stranger.reaches(&inner);
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
        let closed = stranger.reaches(&inner);
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!((open, closed), (true, false));
    }
}
