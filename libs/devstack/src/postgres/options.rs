use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

use super::url::PostgresUrl;
use super::{pid_file, place};
use crate::cancel::Cancel;
use crate::error::{Doing as _, Result};
use crate::progress::{Say, silent};

/// Which Postgres to use or start.
#[derive(Clone, Debug)]
pub struct Options {
    pub(super) kind: ClusterKind,
    pub(super) named: Option<PostgresUrl>,
    pub(super) max_connections: u32,
    pub(super) say: Say,
    pub(super) cancel: Cancel,
    pub(super) held: Option<Arc<File>>,
}

#[derive(Clone, Debug)]
pub(super) enum ClusterKind {
    Kept { root: PathBuf, port: u16 },
    ThrowAway,
}

impl Options {
    /// A server whose data stays in `root/postgres`, its secrets in
    /// `root/secrets` and its log in `root/logs`; `root` is usually `.quartet`.
    /// A server that already runs on this data is taken for a leftover and
    /// stopped, so callers must hold a lock on `root`.
    pub fn kept(root: impl Into<PathBuf>, port: u16) -> Self {
        Self::new(ClusterKind::Kept {
            root: root.into(),
            port,
        })
    }

    /// A server for tests: data in a temporary directory, nothing synced to
    /// disk, a free port, many connections. Removed when it is dropped.
    pub fn throw_away() -> Self {
        Self {
            max_connections: 300,
            ..Self::new(ClusterKind::ThrowAway)
        }
    }

    fn new(kind: ClusterKind) -> Self {
        Self {
            kind,
            named: None,
            max_connections: 100,
            say: silent,
            cancel: Cancel::default(),
            held: None,
        }
    }

    /// Uses this server, if given, instead of starting one.
    #[must_use]
    pub fn named(mut self, server: Option<PostgresUrl>) -> Self {
        self.named = server;
        self
    }

    /// Whether an existing server is used, so that none will be started.
    pub fn names_a_server(&self) -> bool {
        self.named.is_some()
    }

    /// Reports progress.
    #[must_use]
    pub fn saying(mut self, say: Say) -> Self {
        self.say = say;
        self
    }

    /// Stops waiting early when the flag is set.
    #[must_use]
    pub fn cancelled_by(mut self, cancel: &Cancel) -> Self {
        self.cancel = cancel.clone();
        self
    }

    /// Keeps this (locked) file open until the server has stopped, even if the caller is killed.
    #[must_use]
    pub fn holding(mut self, file: Arc<File>) -> Self {
        self.held = Some(file);
        self
    }

    /// Where kept data is: below `root`, or where the server's user can reach it if
    /// the caller is root.
    pub fn data_directories(&self) -> Vec<PathBuf> {
        let places = match &self.kind {
            ClusterKind::Kept { root, .. } => place::candidates(root),
            ClusterKind::ThrowAway => Vec::new(),
        };
        places.into_iter().filter(|place| place.exists()).collect()
    }

    /// Removes kept data, after stopping a server that was left behind on it.
    pub fn wipe(&self) -> Result<()> {
        for directory in self.data_directories() {
            pid_file::stop_leftover(&directory.join("data"), self.say)?;
            fs::remove_dir_all(&directory).doing(|| format!("remove {}", directory.display()))?;
            // Outside `root` the directory has a parent of its own; `root` itself is not empty.
            let _ = directory.parent().map(fs::remove_dir);
        }
        Ok(())
    }
}
