use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::url::PostgresUrl;
use super::{Say, pid_file, place};
use crate::cancel::Cancel;

/// Which Postgres to use or start.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory and the port of a server whose data is kept.
    pub kept: Option<(PathBuf, u16)>,
    /// Use this server, if given, instead of starting one.
    pub named: Option<PostgresUrl>,
    /// Receives lines of progress, for the person at the terminal.
    pub say: Say,
    /// Stop waiting early when this is set.
    pub cancel: Cancel,
    /// A locked file that stays open until the server has stopped, even if the caller is killed.
    pub held: Option<Arc<File>>,
}

impl Options {
    /// A server whose data stays in `root/postgres`, its secrets in
    /// `root/secrets` and its log in `root/logs`; `root` is usually `.quartet`.
    /// A server that already runs on this data is taken for a leftover and
    /// stopped, so callers must hold a lock on `root`.
    pub fn kept(root: impl Into<PathBuf>, port: u16) -> Self {
        Self {
            kept: Some((root.into(), port)),
            ..Self::throw_away()
        }
    }

    /// A server for tests: data in a temporary directory, nothing synced to
    /// disk, a free port, many connections. Removed when it is dropped.
    pub fn throw_away() -> Self {
        Self {
            kept: None,
            named: None,
            say: |_| {},
            cancel: Cancel::default(),
            held: None,
        }
    }

    /// Where kept data is: below `root`, or where the server's user can reach it if
    /// the caller is root.
    pub fn data_directories(&self) -> Vec<PathBuf> {
        let places = self
            .kept
            .iter()
            .flat_map(|(root, _)| place::candidates(root));
        places.filter(|place| place.exists()).collect()
    }

    /// Removes kept data, after stopping a server that was left behind on it.
    pub fn wipe(&self) -> Result<()> {
        for directory in self.data_directories() {
            pid_file::stop_leftover(&directory.join("data"), self.say)?;
            (self.say)(&format!("Removing {}", directory.display()));
            fs::remove_dir_all(&directory)
                .with_context(|| format!("remove {}", directory.display()))?;
            // Outside `root` the directory has a parent of its own; `root` itself is not empty.
            let _ = directory.parent().map(fs::remove_dir);
        }
        Ok(())
    }
}
