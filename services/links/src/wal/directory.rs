//! One directory per replica, and the lock that shows whether the replica is alive.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use uuid::Uuid;

use super::segment;

const LOCK: &str = "lock";
const UNFINISHED: &str = ".new";
const PROBE: &str = "probe";
const PROBE_BYTES: usize = 4096;

/// A locked directory. The lock is released when this is dropped or the process dies.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    lock: Mutex<File>,
}

impl Directory {
    /// Creates and locks `root/name`.
    pub(crate) fn create(root: &Path, name: &str) -> io::Result<Self> {
        let path = root.join(name);
        let lock = Mutex::new(build(&path)?);
        Ok(Self { path, lock })
    }

    /// Whether the directory and its lock are where they were created.
    pub(crate) fn is_in_place(&self) -> bool {
        self.path.join(LOCK).exists()
    }

    /// Finds out whether files can be created and written.
    pub(crate) fn probe(&self) -> io::Result<()> {
        let path = self.path.join(PROBE);
        let written = std::fs::write(&path, [0; PROBE_BYTES]);
        let _ = std::fs::remove_file(path);
        written
    }

    /// Creates and locks the directory again after it was removed, or only its lock.
    ///
    /// # Errors
    /// When that is impossible. What was in the directory is gone in any case.
    pub(crate) fn restore(&self) -> io::Result<()> {
        let lock = if self.path.exists() {
            locked(&self.path.join(LOCK))?
        } else {
            build(&self.path)?
        };
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = lock;
        Ok(())
    }

    /// Locks every directory below `root` whose replica has died.
    ///
    /// # Errors
    /// Beside what was locked: why the first of the others cannot be. A damaged directory must not
    /// keep the rest from being recovered.
    pub(crate) fn lock_abandoned(root: &Path) -> (Vec<Self>, io::Result<()>) {
        let entries = match std::fs::read_dir(root) {
            Ok(entries) => entries,
            Err(error) => return (Vec::new(), Err(at(root, &error))),
        };
        let (mut found, mut outcome) = (Vec::new(), Ok(()));
        for entry in entries {
            let locked = match entry {
                Ok(entry) => Self::try_lock(entry.path()),
                Err(error) => Err(at(root, &error)),
            };
            match locked {
                Ok(locked) => found.extend(locked),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        (found, outcome)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The numbers of the segments, oldest first.
    pub(crate) fn segments(&self) -> io::Result<Vec<u64>> {
        segments(&self.path)
    }

    /// Removes the directory, which may be gone already.
    ///
    /// # Errors
    /// When it still holds segments.
    pub(crate) fn remove(&self) -> io::Result<()> {
        if !self.path.exists() {
            return Ok(());
        }
        if !self.segments()?.is_empty() {
            return Err(io::Error::other("the log directory still holds segments"));
        }
        let _ = std::fs::remove_file(self.path.join(PROBE));
        std::fs::remove_file(self.path.join(LOCK))?;
        std::fs::remove_dir(&self.path)
    }

    /// `None` while a replica holds the lock, if another replica was faster, and for what is not a
    /// click log.
    fn try_lock(path: PathBuf) -> io::Result<Option<Self>> {
        // A directory that is being created is about to be locked by its replica.
        if path.extension().is_some_and(|end| end == &UNFINISHED[1..]) {
            return Ok(None);
        }
        match Self::try_lock_file(&path) {
            // Such as `lost+found`, where the root is that of a volume.
            Err(error) if is_denied(&error) && !is_of_replica(&path) => Ok(None),
            Err(error) => Err(at(&path, &error)),
            Ok(lock) => Ok(lock.map(|lock| Self {
                path,
                lock: Mutex::new(lock),
            })),
        }
    }

    fn try_lock_file(path: &Path) -> io::Result<Option<File>> {
        let lock = match File::open(path.join(LOCK)) {
            Ok(lock) => lock,
            Err(error) if is_missing(&error) => return Self::lock_without_file(path),
            Err(error) => return Err(error),
        };
        match lock.try_lock() {
            // Another replica may have recovered and removed the directory before this lock.
            Ok(()) => Ok(path.join(LOCK).exists().then_some(lock)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// A directory with segments and without a lock: a backup that was restored without empty files,
    /// or the lock was removed. No replica that works leaves one behind.
    fn lock_without_file(path: &Path) -> io::Result<Option<File>> {
        if !path.is_dir() || segments(path)?.is_empty() {
            return Ok(None);
        }
        tracing::warn!(directory = %path.display(), "a click log has no lock file; recovering it");
        match locked(&path.join(LOCK)) {
            Ok(lock) => Ok(Some(lock)),
            // Another replica was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Creates and locks a directory. It gets its name only once it is locked, so that no other replica
/// can take it for abandoned.
fn build(path: &Path) -> io::Result<File> {
    let (Some(root), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    std::fs::create_dir_all(root)?;
    let unfinished = root.join(format!(".{}{UNFINISHED}", name.display()));
    // Left behind by an attempt that failed half-way.
    let _ = std::fs::remove_dir_all(&unfinished);
    std::fs::create_dir(&unfinished)?;
    let lock = locked(&unfinished.join(LOCK))?;
    std::fs::rename(&unfinished, path)?;
    sync(root)?;
    Ok(lock)
}

/// Creates and locks a lock file.
fn locked(path: &Path) -> io::Result<File> {
    let lock = File::create_new(path)?;
    lock.try_lock()?;
    Ok(lock)
}

fn segments(path: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(path)? {
        numbers.extend(entry?.file_name().to_str().and_then(segment::number));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes created and renamed files of a directory survive a power failure.
pub(super) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Replicas name their directories by UUIDs.
fn is_of_replica(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| Uuid::try_parse(name).is_ok())
}

/// The error with the path that it is about, which `io` leaves out.
fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn abandoned(root: &Path) -> Vec<Directory> {
        let (found, outcome) = Directory::lock_abandoned(root);
        outcome.unwrap();
        found
    }

    /// Directories that are listed before and after it, whatever the order.
    fn three_dead(root: &Path) {
        for name in ["a", "m", "z"] {
            let dead = Directory::create(root, name).unwrap();
            segment::create(dead.path(), 1).unwrap();
        }
    }

    #[test]
    fn a_directory_that_cannot_be_locked_keeps_no_other_and_is_named() {
        let root = tempfile::tempdir().unwrap();
        three_dead(root.path());
        let damaged = root.path().join("damaged");
        std::fs::create_dir(&damaged).unwrap();
        symlink(LOCK, damaged.join(LOCK)).unwrap();
        let (found, outcome) = Directory::lock_abandoned(root.path());
        assert_eq!(found.len(), 3);
        let error = outcome.unwrap_err().to_string();
        assert!(error.starts_with(damaged.to_str().unwrap()), "{error}");
    }

    /// For root, it is an empty directory.
    #[test]
    fn a_directory_of_the_volume_is_no_log() {
        let root = tempfile::tempdir().unwrap();
        three_dead(root.path());
        let foreign = root.path().join("lost+found");
        std::fs::create_dir(&foreign).unwrap();
        let set_mode = |mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&foreign, mode).unwrap();
        };
        set_mode(0);
        let found = abandoned(root.path());
        set_mode(0o700);
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn abandoned_directories_are_locked_once() {
        let root = tempfile::tempdir().unwrap();
        let alive = Directory::create(root.path(), "a").unwrap();
        let dead = Directory::create(root.path(), "b").unwrap();
        segment::create(dead.path(), 3).unwrap();
        segment::create(dead.path(), 1).unwrap();
        drop(dead);
        std::fs::write(root.path().join("a file"), "is not a log").unwrap();

        let found = abandoned(root.path());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].segments().unwrap(), [1, 3]);
        assert!(abandoned(root.path()).is_empty(), "already locked");
        assert!(alive.segments().unwrap().is_empty());
    }

    #[test]
    fn a_directory_without_a_lock_is_recovered_if_it_holds_segments() {
        let root = tempfile::tempdir().unwrap();
        for (name, holds_segments) in [("empty", false), ("full", true)] {
            let directory = Directory::create(root.path(), name).unwrap();
            if holds_segments {
                segment::create(directory.path(), 1).unwrap();
            }
            drop(directory);
            std::fs::remove_file(root.path().join(name).join(LOCK)).unwrap();
        }
        let found = abandoned(root.path());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].segments().unwrap(), [1]);
        assert!(abandoned(root.path()).is_empty(), "already locked");
    }

    #[test]
    fn a_removed_directory_or_lock_is_restored_and_locked() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::create(root.path(), "a").unwrap();
        for removed in ["a", "a/lock"] {
            let path = root.path().join(removed);
            if path.is_dir() {
                std::fs::remove_dir_all(path).unwrap();
            } else {
                std::fs::remove_file(path).unwrap();
            }
            assert!(!directory.is_in_place());
            directory.restore().unwrap();
            assert!(directory.is_in_place());
            segment::create(directory.path(), 1).unwrap();
            assert!(abandoned(root.path()).is_empty());
            std::fs::remove_file(segment::path(directory.path(), 1)).unwrap();
        }
    }

    #[test]
    fn directory_with_segments_is_not_removed() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::create(root.path(), "a").unwrap();
        segment::create(directory.path(), 1).unwrap();
        assert!(directory.remove().is_err());
        drop(directory);
        let again = abandoned(root.path()).remove(0);
        std::fs::remove_file(segment::path(again.path(), 1)).unwrap();
        again.remove().unwrap();
        assert!(!root.path().join("a").exists());
    }
}
