//! One directory of a site, and its files.

use std::{
    fs::{File, Metadata},
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use quartet_common::clock::Clock;
use rustix::io::Errno;

use super::{open, settings::SiteSettings};

pub(super) struct Directory {
    pub(super) root: OwnedFd,
    /// Device and inode. While the directory is open, no other one has them.
    pub(super) id: (u64, u64),
    pub(super) settings: Arc<SiteSettings>,
    pub(super) clock: Clock,
    /// A file that may not be read was logged.
    has_warned: AtomicBool,
}

impl Directory {
    /// The one at the path of the settings now.
    ///
    /// # Errors
    /// When there is none that may be opened.
    pub(super) fn open(settings: &Arc<SiteSettings>, clock: &Clock) -> io::Result<Self> {
        let root = File::from(open::directory(&settings.directory)?);
        let known = root.metadata()?;
        Ok(Self {
            root: OwnedFd::from(root),
            id: (known.dev(), known.ino()),
            settings: Arc::clone(settings),
            clock: clock.clone(),
            has_warned: AtomicBool::new(false),
        })
    }
}

/// What changes with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) length: u64,
    /// Seconds and nanoseconds.
    pub(super) modified: (i64, i64),
    pub(super) changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What a name leads to.
pub(super) enum OpenResult {
    File(File, Stamp),
    Directory,
    Missing,
}

/// # Errors
/// When the file system fails. What may not be read, or is no file, is missing.
pub(super) fn open_file(directory: &Directory, name: &str) -> io::Result<OpenResult> {
    let opened = match open::beneath(&directory.root, name) {
        Ok(opened) => File::from(opened),
        Err(Errno::ACCESS) => {
            warn_unreadable(directory, name);
            return Ok(OpenResult::Missing);
        }
        Err(
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::XDEV
            | Errno::NAMETOOLONG
            | Errno::NXIO
            | Errno::AGAIN
            | Errno::INVAL,
        ) => return Ok(OpenResult::Missing),
        Err(error) => return Err(error.into()),
    };
    let metadata = opened.metadata()?;
    Ok(if metadata.is_file() {
        let stamp = Stamp::of(&metadata);
        OpenResult::File(opened, stamp)
    } else if metadata.is_dir() {
        OpenResult::Directory
    } else {
        OpenResult::Missing
    })
}

/// Once per directory: the mistake is rarely about one file only.
fn warn_unreadable(directory: &Directory, name: &str) {
    if !directory.has_warned.swap(true, Ordering::Relaxed) {
        let site = &*directory.settings.name;
        tracing::warn!(target: "quartet", site, file = name, "the gateway may not read a file of a site");
    }
}
