//! Where a server's files are. Postgres refuses to run as root; started by root,
//! its files have to be where another user can reach them.

use std::env;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::{Doing as _, Error, Result};
use crate::progress::Say;
use crate::user::User;

/// The directory for kept data, created if absent.
pub(crate) fn kept(root: &Path, user: Option<&User>, say: Say) -> Result<PathBuf> {
    let [here, elsewhere] = places(root);
    let Some(user) = user else {
        create(&here, 0o700)?;
        return Ok(here);
    };
    if user.reaches(&here) {
        create(&here, 0o711)?;
        return Ok(here);
    }
    say(&format!(
        "Postgres: cannot run as root, and user {} cannot reach {}: its data is in {}",
        user.name,
        here.display(),
        elsewhere.display()
    ));
    create(&elsewhere, 0o711)?;
    require_own(elsewhere.parent().unwrap_or(&elsewhere))?;
    Ok(elsewhere)
}

/// All directories that [`kept`] may choose.
pub(crate) fn candidates(root: &Path) -> Vec<PathBuf> {
    places(root).to_vec()
}

/// A new directory for a throw-away server.
pub(crate) fn throw_away(user: Option<&User>) -> Result<TempDir> {
    let parent = [env::temp_dir(), "/tmp".into(), "/var/tmp".into()]
        .into_iter()
        .find(|parent| parent.is_dir() && user.is_none_or(|user| user.reaches(parent)))
        .ok_or_else(|| Error::other("the server's user can reach no temporary directory"))?;
    let mode = if user.is_some() { 0o711 } else { 0o700 };
    tempfile::Builder::new()
        .prefix("quartet-test-")
        .permissions(Permissions::from_mode(mode))
        .tempdir_in(&parent)
        .doing(|| format!("create a directory in {}", parent.display()))
}

fn places(root: &Path) -> [PathBuf; 2] {
    let root = std::path::absolute(root).unwrap_or_else(|_| root.to_path_buf());
    let hash = fnv1a(root.as_os_str().as_encoded_bytes());
    [
        root.join("postgres"),
        PathBuf::from(format!("/var/tmp/quartet-{hash:016x}/postgres")),
    ]
}

fn create(path: &Path, mode: u32) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .doing(|| format!("create {}", path.display()))
}

/// Refuses a directory that another user has put there first: anyone may write to /var/tmp.
fn require_own(path: &Path) -> Result<()> {
    let metadata = fs::symlink_metadata(path).doing(|| format!("inspect {}", path.display()))?;
    if metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let source = io::Error::from(io::ErrorKind::PermissionDenied);
    Err(source).doing(|| format!("{} belongs to another user", path.display()))
}

/// A hash that stays the same from one compiler version to the next.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::fnv1a;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
