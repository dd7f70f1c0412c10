//! Finds the server's programs on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::install;
use crate::command::{directories, output};
use crate::user::User;

/// The oldest major version that Quartet runs on.
pub(crate) const OLDEST_MAJOR: u32 = 15;

/// Directories of Debian, Homebrew, Postgres.app and the packages of postgresql.org for Red Hat;
/// some of their entries contain one version, its programs in `bin`.
const PARENTS: [&str; 5] = [
    "/usr/lib/postgresql",
    "/opt/homebrew/opt",
    "/usr/local/opt",
    "/Applications/Postgres.app/Contents/Versions",
    "/usr",
];

/// One installed version of Postgres.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) bin: PathBuf,
    pub(crate) major: u32,
}

impl Programs {
    /// The programs in `bin`, if they include a server of a supported version.
    fn at(bin: &Path) -> Option<Self> {
        let initdb = fs::canonicalize(bin.join("initdb")).ok()?;
        // A link on PATH leads to the directory of the other programs.
        let bin = initdb.parent()?.to_path_buf();
        bin.join("postgres").is_file().then_some(())?;
        let version = output(Command::new(&initdb).arg("--version")).ok()?;
        let major = major_version(&version)?;
        (major >= OLDEST_MAJOR).then_some(Self { bin, major })
    }
}

/// All usable versions, newest first.
pub(crate) fn find_all(user: Option<&User>) -> Vec<Programs> {
    let parents = PARENTS.map(PathBuf::from).into_iter();
    let versions = parents
        .chain([install::downloads()])
        .filter_map(|parent| fs::read_dir(parent).ok())
        .flat_map(|entries| entries.flatten().map(|version| version.path().join("bin")));
    let mut found: Vec<Programs> = directories()
        .chain(versions)
        .filter(|bin| bin.join("initdb").exists())
        .filter(|bin| user.is_none_or(|user| user.reaches(bin)))
        .filter_map(|bin| Programs::at(&bin))
        .collect();
    found.sort_by(|a, b| b.major.cmp(&a.major).then_with(|| a.bin.cmp(&b.bin)));
    found.dedup_by(|a, b| a.bin == b.bin);
    found
}

/// The version that wrote `data`, or the newest if there is no data yet.
pub(crate) fn for_data(programs: &[Programs], data: &Path) -> Result<Programs> {
    let written_by = fs::read_to_string(data.join("PG_VERSION")).ok();
    let written_by = written_by.and_then(|text| text.trim().parse::<u32>().ok());
    let mut usable = programs
        .iter()
        .filter(|it| written_by.is_none_or(|major| major == it.major));
    usable.next().cloned().with_context(|| {
        let found: Vec<String> = programs.iter().map(|it| it.major.to_string()).collect();
        let (found, needed) = (found.join(", "), written_by.unwrap_or_default());
        format!(
            "{} was written by Postgres {needed}, but only {found} is installed. Install Postgres \
             {needed}, or start with an empty database (`cargo xtask up --fresh`).",
            data.display()
        )
    })
}

/// The major version in `initdb (PostgreSQL) 17.2 (Debian ...)`.
fn major_version(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL)")?.1.trim_start();
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::major_version;

    #[test]
    fn reads_versions() {
        assert_eq!(
            major_version("initdb (PostgreSQL) 15.13 (Debian 15.13-0)"),
            Some(15)
        );
        assert_eq!(major_version("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_version("something else 15"), None);
    }
}
