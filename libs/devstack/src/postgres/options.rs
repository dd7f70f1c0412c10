use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

use super::{PostgresUrl, place, server};
use crate::error::{Doing as _, Result};
use crate::{Cancel, Say, silent};

/// Which Postgres is wanted.
#[derive(Clone, Debug)]
pub struct Options {
    pub(super) kind: Kind,
    pub(super) named: Option<PostgresUrl>,
    pub(super) max_connections: u32,
    pub(super) say: Say,
    pub(super) cancel: Cancel,
    pub(super) held: Option<Arc<File>>,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Kept { root: PathBuf, port: u16 },
    ThrowAway,
}

impl Options {
    /// A server whose data stays in `root/postgres`, its secrets in
    /// `root/secrets` and its log in `root/logs`; `root` is usually `.quartet`.
    /// A server that already runs on this data counts as left behind and is
    /// stopped, so callers keep a lock on `root`.
    pub fn kept(root: impl Into<PathBuf>, port: u16) -> Self {
        Self::new(Kind::Kept {
            root: root.into(),
            port,
        })
    }

    /// A server for tests: data in a temporary directory, nothing synced to
    /// disk, a free port, room for many connections; removed when it stops.
    pub fn throw_away() -> Self {
        Self {
            max_connections: 300,
            ..Self::new(Kind::ThrowAway)
        }
    }

    fn new(kind: Kind) -> Self {
        Self {
            kind,
            named: None,
            max_connections: 100,
            say: silent,
            cancel: Cancel::default(),
            held: None,
        }
    }

    /// Uses this server, if there is one, instead of starting one.
    #[must_use]
    pub fn named(mut self, server: Option<PostgresUrl>) -> Self {
        self.named = server;
        self
    }

    /// Whether a server is named, and so none will be started.
    pub fn names_a_server(&self) -> bool {
        self.named.is_some()
    }

    /// Tells what is being done while it takes time.
    #[must_use]
    pub fn saying(mut self, say: Say) -> Self {
        self.say = say;
        self
    }

    /// Ends waiting early when the flag is set.
    #[must_use]
    pub fn cancelled_by(mut self, cancel: &Cancel) -> Self {
        self.cancel = cancel.clone();
        self
    }

    /// Keeps this (locked) file open until the server is gone, also when the caller is killed.
    #[must_use]
    pub fn holding(mut self, file: Arc<File>) -> Self {
        self.held = Some(file);
        self
    }

    /// Where kept data is. As root it may have moved to where the server's user can reach it.
    pub fn data_directories(&self) -> Vec<PathBuf> {
        let places = match &self.kind {
            Kind::Kept { root, .. } => place::candidates(root),
            Kind::ThrowAway => Vec::new(),
        };
        places.into_iter().filter(|place| place.exists()).collect()
    }

    /// Removes kept data for good; stops a server that was left behind on it.
    pub fn wipe(&self) -> Result<()> {
        for directory in self.data_directories() {
            server::end_leftover(&directory.join("data"), self.say)?;
            fs::remove_dir_all(&directory).doing(|| format!("remove {}", directory.display()))?;
            // The place elsewhere has a parent of its own; any other is not empty.
            let _ = directory.parent().map(fs::remove_dir);
        }
        Ok(())
    }
}
