//! Change notes in the format of Keep a Changelog: a section `## [VERSION] - DATE` per release, the
//! newest first, after a section `## [Unreleased]`.

use anyhow::{Context as _, ensure};
use chrono::NaiveDate;
use semver::Version;

const UNRELEASED: &str = "## [Unreleased]\n";

/// The same notes with the unreleased changes as the release of a day.
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
        "[Unreleased] is empty: first describe what changes for operators and clients"
    );
    Ok(format!(
        "{head}{UNRELEASED}\n## [{version}] - {day}\n{rest}"
    ))
}

/// The section of a version, without its heading.
pub(super) fn of(text: &str, version: &Version) -> Option<String> {
    let heading = format!("\n## [{version}] - ");
    let (_, section) = text.split_once(&heading)?;
    let (_, section) = section.split_once('\n')?;
    let section = section.split("\n## ").next()?;
    Some(format!("{}\n", section.trim()))
}
