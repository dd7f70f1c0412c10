//! One directory per replica, and the lock that shows whether the replica is alive.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use super::segment;

const LOCK: &str = "lock";
const UNFINISHED: &str = ".new";

/// A locked directory. The lock is released when this is dropped or the process dies.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Creates and locks `root/name`. It gets its name only once it is locked, so that no other
    /// replica can take it for abandoned.
    pub(crate) fn create(root: &Path, name: &str) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        let unfinished = root.join(format!(".{name}{UNFINISHED}"));
        std::fs::create_dir(&unfinished)?;
        let lock = File::create_new(unfinished.join(LOCK))?;
        lock.try_lock()?;
        let path = root.join(name);
        std::fs::rename(&unfinished, &path)?;
        sync(root)?;
        Ok(Self { path, _lock: lock })
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
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            numbers.extend(entry?.file_name().to_str().and_then(segment::number));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Removes the directory.
    ///
    /// # Errors
    /// When it still holds segments.
    pub(crate) fn remove(&self) -> io::Result<()> {
        if !self.segments()?.is_empty() {
            return Err(io::Error::other("the log directory still holds segments"));
        }
        std::fs::remove_file(self.path.join(LOCK))?;
        std::fs::remove_dir(&self.path)
    }

    /// `None` while a replica holds the lock, or if another replica was faster.
    fn try_lock(path: PathBuf) -> io::Result<Option<Self>> {
        let lock = match File::open(path.join(LOCK)) {
            Ok(lock) => lock,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        match lock.try_lock() {
            // Another replica may have recovered and removed the directory before this lock.
            Ok(()) => Ok(path
                .join(LOCK)
                .exists()
                .then_some(Self { path, _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
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
