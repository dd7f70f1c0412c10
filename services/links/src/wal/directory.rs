//! A directory for each replica, and the lock that tells whether it lives.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use super::segment;

const LOCK: &str = "lock";
const UNBORN: &str = ".new";

/// A locked directory. The lock goes when this is dropped or the process dies.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes `root/name` and locks it. Nobody sees it before it is locked.
    pub(crate) fn create(root: &Path, name: &str) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        let unborn = root.join(format!(".{name}{UNBORN}"));
        std::fs::create_dir(&unborn)?;
        let lock = File::create_new(unborn.join(LOCK))?;
        lock.try_lock()?;
        let path = root.join(name);
        std::fs::rename(&unborn, &path)?;
        sync(root)?;
        Ok(Self { path, _lock: lock })
    }

    /// Takes over every directory below `root` whose replica is gone.
    pub(crate) fn orphans(root: &Path) -> io::Result<Vec<Self>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(root)? {
            let path = entry?.path();
            // Its maker is about to lock it and must not be disturbed.
            let is_unborn = path.extension().is_some_and(|end| end == &UNBORN[1..]);
            if !is_unborn {
                found.extend(Self::adopt(path)?);
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

    /// Removes the directory, which must hold no segment any more.
    pub(crate) fn remove(self) -> io::Result<()> {
        if !self.segments()?.is_empty() {
            return Err(io::Error::other("the log directory still holds segments"));
        }
        std::fs::remove_file(self.path.join(LOCK))?;
        std::fs::remove_dir(&self.path)
    }

    /// `None` while a replica holds the lock, or when somebody else was faster.
    fn adopt(path: PathBuf) -> io::Result<Option<Self>> {
        let lock = match File::open(path.join(LOCK)) {
            Ok(lock) => lock,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        match lock.try_lock() {
            // The lock of a directory that was removed meanwhile is worth nothing.
            Ok(()) => Ok(path
                .join(LOCK)
                .exists()
                .then_some(Self { path, _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Makes names in a directory survive a power cut.
pub(super) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_of_the_gone_are_taken_and_only_once() {
        let root = tempfile::tempdir().unwrap();
        let living = Directory::create(root.path(), "a").unwrap();
        let gone = Directory::create(root.path(), "b").unwrap();
        segment::create(gone.path(), 3).unwrap();
        segment::create(gone.path(), 1).unwrap();
        drop(gone);
        std::fs::write(root.path().join("a file"), "is not a log").unwrap();

        let orphans = Directory::orphans(root.path()).unwrap();
        assert_eq!(orphans.len(), 1);
        assert_eq!(orphans[0].segments().unwrap(), [1, 3]);
        assert!(
            Directory::orphans(root.path()).unwrap().is_empty(),
            "it is taken"
        );
        assert!(living.segments().unwrap().is_empty());
    }

    #[test]
    fn a_directory_with_segments_is_not_removed() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::create(root.path(), "a").unwrap();
        segment::create(directory.path(), 1).unwrap();
        assert!(directory.remove().is_err());
        let again = Directory::orphans(root.path()).unwrap().remove(0);
        std::fs::remove_file(segment::path(again.path(), 1)).unwrap();
        again.remove().unwrap();
        assert!(!root.path().join("a").exists());
    }
}
