//! What git says about a source tree.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

/// git in a directory.
pub(crate) fn git(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(directory).stdin(Stdio::null());
    // Set by hooks, these would lead to another repository.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    command
}

/// What git prints, trimmed; its own message when it fails.
pub(crate) fn output(directory: &Path, words: &[&str]) -> anyhow::Result<String> {
    let output = git(directory).args(words).output().context("start git")?;
    ensure!(
        output.status.success(),
        "git {}: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let text = String::from_utf8(output.stdout).context("git printed no text")?;
    Ok(text.trim().to_owned())
}

/// The full hash of the commit that `name` stands for.
pub(crate) fn commit(directory: &Path, name: &str) -> anyhow::Result<String> {
    let wanted = format!("{name}^{{commit}}");
    output(
        directory,
        &["rev-parse", "--verify", "--end-of-options", &wanted],
    )
    .with_context(|| format!("`{name}` is no commit here"))
}

/// The last release of a service before the current commit: its tag `SERVICE-vX.Y.Z`.
pub(crate) fn last_release(directory: &Path, service: &str) -> anyhow::Result<Option<String>> {
    let pattern = format!("{service}-v*");
    let tags = output(
        directory,
        &[
            "tag",
            "--merged",
            "HEAD",
            "--no-contains",
            "HEAD",
            "--sort=-version:refname",
            "--list",
            &pattern,
        ],
    )?;
    Ok(tags.lines().next().map(str::to_owned))
}
