//! What git knows about a source tree.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::cargo;

/// git in a directory.
pub(crate) fn git(directory: &Path, words: &[&str]) -> Command {
    let mut command = cargo::command("git", words);
    command.current_dir(directory).stdin(Stdio::null());
    // Hooks set these, and they would lead to another repository.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    command
}

/// What git prints, trimmed; its own message when it fails.
pub(crate) fn output(directory: &Path, words: &[&str]) -> anyhow::Result<String> {
    cargo::output(&mut git(directory, words))
}

/// The names of files that git prints with a zero after each (`-z`).
pub(crate) fn files(directory: &Path, words: &[&str]) -> anyhow::Result<Vec<String>> {
    let printed = output(directory, words)?;
    let files = printed.split('\0').filter(|file| !file.is_empty());
    Ok(files.map(str::to_owned).collect())
}

/// The full hash of the commit that `name` refers to.
pub(crate) fn commit(directory: &Path, name: &str) -> anyhow::Result<String> {
    let revision = format!("{name}^{{commit}}");
    let words = ["rev-parse", "--verify", "--end-of-options", &revision];
    output(directory, &words).with_context(|| format!("`{name}` is not a commit here"))
}

/// The last release of a service before the current commit: its tag `SERVICE-vX.Y.Z`.
pub(crate) fn last_release(directory: &Path, service: &str) -> anyhow::Result<Option<String>> {
    let pattern = format!("{service}-v*");
    let ancestors = ["tag", "--merged", "HEAD", "--no-contains", "HEAD"];
    let newest_first = ["--sort=-version:refname", "--list", &pattern];
    let tags = output(directory, &[&ancestors[..], &newest_first].concat())?;
    Ok(tags.lines().next().map(str::to_owned))
}
