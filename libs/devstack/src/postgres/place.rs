//! Where a server's files are. Postgres refuses to run as root; started by root,
//! its files have to be where another user can reach them.

use std::env;
use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::Say;
use crate::user::User;

/// The directory for kept data, created if absent.
pub(crate) fn kept(root: &Path, user: Option<&User>, say: Say) -> Result<PathBuf> {
    let [here, elsewhere] = candidates(root);
    let Some(user) = user.filter(|user| !user.reaches(&here)) else {
        create(&here, user)?;
        return Ok(here);
    };
    say(&format!(
        "Postgres: cannot run as root, and user {} cannot reach {}: its data is in {}",
        user.name,
        here.display(),
        elsewhere.display()
    ));
    create(&elsewhere, Some(user))?;
    // Anyone may write to /var/tmp, and may have put the directory there first.
    let parent = elsewhere.parent().unwrap_or(&elsewhere);
    let metadata = fs::symlink_metadata(parent)?;
    let is_own = metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw();
    ensure!(is_own, "{} belongs to another user", parent.display());
    Ok(elsewhere)
}

/// The directories that [`kept`] may choose; the second is named after the path of `root`.
pub(crate) fn candidates(root: &Path) -> [PathBuf; 2] {
    let root = std::path::absolute(root).unwrap_or_else(|_| root.to_path_buf());
    let name = root.to_string_lossy().replace('/', "%");
    let elsewhere = Path::new("/var/tmp").join(format!("quartet{name}"));
    [root.join("postgres"), elsewhere.join("postgres")]
}

/// A new directory for a throw-away server.
pub(crate) fn throw_away(user: Option<&User>) -> Result<TempDir> {
    let parents = [env::temp_dir(), "/tmp".into(), "/var/tmp".into()];
    let is_usable = |parent: &Path| parent.is_dir() && user.is_none_or(|it| it.reaches(parent));
    let parent = parents.iter().find(|parent| is_usable(parent));
    let parent = parent.context("the server's user can reach no temporary directory")?;
    tempfile::Builder::new()
        .prefix("quartet-test-")
        .permissions(Permissions::from_mode(mode(user)))
        .tempdir_in(parent)
        .with_context(|| format!("create a directory in {}", parent.display()))
}

fn create(path: &Path, user: Option<&User>) -> Result<()> {
    let mut directory = DirBuilder::new();
    let created = directory.recursive(true).mode(mode(user)).create(path);
    created.with_context(|| format!("create {}", path.display()))
}

/// The server's user has to pass through.
fn mode(user: Option<&User>) -> u32 {
    if user.is_some() { 0o711 } else { 0o700 }
}
