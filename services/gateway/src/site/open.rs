//! Opens files beneath a directory, and never one outside of it.
//!
//! The kernel decides, component by component (`openat2` with `RESOLVE_BENEATH`), so no symbolic link
//! and no rename under way leads outside. A kernel without it gets one component at a time, and no
//! symbolic link at all: that refuses more, and never less.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::{self, Errno},
};

/// The directory of a site. Its path is the operator's, and may lead through symbolic links.
pub(super) fn directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty())
}

/// A file by its name beneath `root`. A pipe or device does not block; it is for the caller to refuse.
pub(super) fn beneath(root: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    match by_kernel(&root, name) {
        Some(opened) => opened,
        None => by_components(root, name),
    }
}

/// `None`: the kernel, or a filter of system calls, does not have `openat2`.
#[cfg(target_os = "linux")]
fn by_kernel(root: impl AsFd, name: &str) -> Option<io::Result<OwnedFd>> {
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::fs::{ResolveFlags, openat2};

    static MISSING: AtomicBool = AtomicBool::new(false);

    if MISSING.load(Ordering::Relaxed) {
        return None;
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let open = || openat2(root.as_fd(), name, flags(), Mode::empty(), resolve);
    Some(match open() {
        // Filters of containers answer with the second one, which no file opened for reading causes.
        Err(Errno::NOSYS | Errno::PERM) => {
            MISSING.store(true, Ordering::Relaxed);
            return None;
        }
        // A rename was under way, so that the kernel could not know whether `..` of a link is beneath.
        Err(Errno::AGAIN) => open(),
        opened => opened,
    })
}

#[cfg(not(target_os = "linux"))]
fn by_kernel(_root: impl AsFd, _name: &str) -> Option<io::Result<OwnedFd>> {
    None
}

fn flags() -> OFlags {
    OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC
}

/// As `beneath`, without following any symbolic link.
fn by_components(root: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let mut parts = name.split('/').peekable();
    let mut directory: Option<OwnedFd> = None;
    while let Some(part) = parts.next() {
        if part.is_empty() || part == "." || part == ".." {
            return Err(Errno::NOENT);
        }
        let from = directory.as_ref().map_or(root.as_fd(), AsFd::as_fd);
        let is_last = parts.peek().is_none();
        let kind = if is_last {
            OFlags::empty()
        } else {
            OFlags::DIRECTORY
        };
        let flags = flags() | OFlags::NOFOLLOW | kind;
        let opened = openat(from, part, flags, Mode::empty())?;
        if is_last {
            return Ok(opened);
        }
        directory = Some(opened);
    }
    Err(Errno::NOENT)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    /// Both ways refuse what leads outside; only the first one follows links that stay inside.
    #[test]
    fn nothing_outside_is_opened() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "s").unwrap();
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir(path("a")).unwrap();
        fs::write(path("a/file"), "f").unwrap();
        symlink(outside.path().join("secret"), path("absolute")).unwrap();
        symlink("../secret", path("upward")).unwrap();
        symlink("a/file", path("inside")).unwrap();
        symlink("a", path("directory")).unwrap();
        symlink(outside.path(), path("tree")).unwrap();
        symlink("/proc/self/cwd", path("magic")).unwrap();
        let fd = directory(root.path()).unwrap();
        for (name, follows, walks) in [
            ("a/file", true, true),
            ("inside", true, false),
            ("directory/file", true, false),
            ("absolute", false, false),
            ("upward", false, false),
            ("tree/secret", false, false),
            ("magic/Cargo.toml", false, false),
            ("a/../a/file", true, false),
            ("../secret", false, false),
            ("/etc/passwd", false, false),
            ("", false, false),
            ("a/", true, false),
            ("missing", false, false),
        ] {
            assert_eq!(beneath(&fd, name).is_ok(), follows, "{name}");
            assert_eq!(by_components(&fd, name).is_ok(), walks, "{name}");
        }
    }
}
