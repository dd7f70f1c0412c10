//! One directory per replica, and the lock that shows whether the replica is alive.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

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
    pub(crate) fn lock_abandoned(root: &Path) -> io::Result<Vec<Self>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(root)? {
            let path = entry?.path();
            // A directory that is being created is about to be locked by its replica.
            let is_unfinished = path.extension().is_some_and(|end| end == &UNFINISHED[1..]);
            if !is_unfinished {
                found.extend(Self::try_lock(path)?);
            }
        }
        Ok(found)
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

    /// `None` while a replica holds the lock, or if another replica was faster.
    fn try_lock(path: PathBuf) -> io::Result<Option<Self>> {
        let lock = match File::open(path.join(LOCK)) {
            Ok(lock) => lock,
            Err(error) if is_missing(&error) => return Self::adopt_without_lock(path),
            Err(error) => return Err(error),
        };
        match lock.try_lock() {
            // Another replica may have recovered and removed the directory before this lock.
            Ok(()) => Ok(path.join(LOCK).exists().then_some(Self {
                path,
                lock: Mutex::new(lock),
            })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// A directory with segments and without a lock: a backup that was restored without empty files,
    /// or the lock was removed. No replica that works leaves one behind.
    fn adopt_without_lock(path: PathBuf) -> io::Result<Option<Self>> {
        if !path.is_dir() || segments(&path)?.is_empty() {
            return Ok(None);
        }
        tracing::warn!(directory = %path.display(), "a click log has no lock file; adopting it");
        match locked(&path.join(LOCK)) {
            Ok(lock) => Ok(Some(Self {
                path,
                lock: Mutex::new(lock),
            })),
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

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abandoned_directories_are_locked_once() {
        let root = tempfile::tempdir().unwrap();
        let alive = Directory::create(root.path(), "a").unwrap();
        let dead = Directory::create(root.path(), "b").unwrap();
        segment::create(dead.path(), 3).unwrap();
        segment::create(dead.path(), 1).unwrap();
        drop(dead);
        std::fs::write(root.path().join("a file"), "is not a log").unwrap();

        let abandoned = Directory::lock_abandoned(root.path()).unwrap();
        assert_eq!(abandoned.len(), 1);
        assert_eq!(abandoned[0].segments().unwrap(), [1, 3]);
        assert!(
            Directory::lock_abandoned(root.path()).unwrap().is_empty(),
            "already locked"
        );
        assert!(alive.segments().unwrap().is_empty());
    }

    #[test]
    fn a_directory_without_a_lock_is_adopted_if_it_holds_segments() {
        let root = tempfile::tempdir().unwrap();
        for (name, holds_segments) in [("empty", false), ("full", true)] {
            let directory = Directory::create(root.path(), name).unwrap();
            if holds_segments {
                segment::create(directory.path(), 1).unwrap();
            }
            drop(directory);
            std::fs::remove_file(root.path().join(name).join(LOCK)).unwrap();
        }
        let adopted = Directory::lock_abandoned(root.path()).unwrap();
        assert_eq!(adopted.len(), 1);
        assert_eq!(adopted[0].segments().unwrap(), [1]);
        let again = Directory::lock_abandoned(root.path()).unwrap();
        assert!(again.is_empty(), "already locked");
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
            assert!(Directory::lock_abandoned(root.path()).unwrap().is_empty());
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
        let again = Directory::lock_abandoned(root.path()).unwrap().remove(0);
        std::fs::remove_file(segment::path(again.path(), 1)).unwrap();
        again.remove().unwrap();
        assert!(!root.path().join("a").exists());
    }
}
