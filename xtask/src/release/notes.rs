//! Change notes in the form of Keep a Changelog: a section `## [VERSION] - DATE` for each
//! release, the newest first, and above them `## [Unreleased]`.

use anyhow::{Context as _, ensure};
use chrono::NaiveDate;
use semver::Version;

const UNRELEASED: &str = "## [Unreleased]\n";

/// The same notes with what is unreleased as a release of that day.
pub(super) fn dated(text: &str, version: &Version, day: NaiveDate) -> anyhow::Result<String> {
    ensure!(
        of(text, version).is_none(),
        "{version} has a section already"
    );
    let (head, rest) = text
        .split_once(UNRELEASED)
        .context("there is no section [Unreleased]")?;
    let changes = rest.split("\n## ").next().unwrap_or_default();
    ensure!(
        !changes.trim().is_empty(),
        "[Unreleased] is empty: say first what changed for those who run or use it"
    );
    Ok(format!(
        "{head}{UNRELEASED}\n## [{version}] - {day}\n{rest}"
    ))
}

/// What the section of a version says, without its heading.
pub(super) fn of(text: &str, version: &Version) -> Option<String> {
    let heading = format!("\n## [{version}] - ");
    let (_, section) = text.split_once(&heading)?;
    let (_, section) = section.split_once('\n')?;
    let section = section.split("\n## ").next()?;
    Some(format!("{}\n", section.trim()))
}
