//! Finds the server's programs on this machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::download;
use crate::error::{Error, Result};
use crate::user::User;

/// The oldest major version that Quartet runs on.
pub(crate) const OLDEST_MAJOR: u32 = 15;

/// Directories whose entries each contain one version, with the subdirectory of its programs.
const VERSIONED: &[(&str, &str)] = &[
    ("/usr/lib/postgresql", "bin"),
    ("/opt/homebrew/opt", "bin"),
    ("/usr/local/opt", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "bin"),
    ("/usr", "bin"),
];

/// One installed version of Postgres.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) bin: PathBuf,
    pub(crate) major: u32,
}

impl Programs {
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// The programs in `bin`, if they include a server of a supported version.
    pub(crate) fn at(bin: &Path) -> Option<Self> {
        let initdb = fs::canonicalize(bin.join("initdb")).ok()?;
        // A link on PATH leads to the directory of the other programs.
        let bin = initdb.parent()?.to_path_buf();
        bin.join("postgres").is_file().then_some(())?;
        let output = Command::new(&initdb).arg("--version").output().ok()?;
        let major = major_version(&String::from_utf8_lossy(&output.stdout))?;
        (major >= OLDEST_MAJOR).then_some(Self { bin, major })
    }
}

/// All usable versions, newest first.
pub(crate) fn find_all(user: Option<&User>) -> Vec<Programs> {
    let mut found: Vec<Programs> = candidates()
        .iter()
        .filter(|bin| user.is_none_or(|user| user.reaches(bin)))
        .filter_map(|bin| Programs::at(bin))
        .collect();
    found.sort_by(|a, b| b.major.cmp(&a.major).then_with(|| a.bin.cmp(&b.bin)));
    found.dedup_by(|a, b| a.bin == b.bin);
    found
}

/// The version that wrote `data`, or the newest if there is no data yet.
pub(crate) fn for_data(programs: Vec<Programs>, data: &Path) -> Result<Programs> {
    let written_by = fs::read_to_string(data.join("PG_VERSION"))
        .ok()
        .and_then(|text| text.trim().parse::<u32>().ok());
    let found: Vec<String> = programs.iter().map(|each| each.major.to_string()).collect();
    let chosen = match written_by {
        None => programs.into_iter().next(),
        Some(major) => programs.into_iter().find(|each| each.major == major),
    };
    chosen.ok_or_else(|| Error::DataVersion {
        path: data.to_path_buf(),
        data: written_by.unwrap_or_default(),
        found: found.join(", "),
    })
}

/// The directories on PATH.
pub(crate) fn on_path() -> Vec<PathBuf> {
    env::var_os("PATH")
        .map(|path| env::split_paths(&path).collect())
        .unwrap_or_default()
}

fn candidates() -> Vec<PathBuf> {
    let mut found = on_path();
    for (parent, bin) in VERSIONED {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        found.extend(
            entries
                .filter(|entry| holds_versions(parent, &entry.file_name().to_string_lossy()))
                .map(|entry| entry.path().join(bin)),
        );
    }
    found.extend(download::installed());
    found.retain(|bin| bin.join("initdb").exists());
    found
}

/// Skips directories that cannot be Postgres where a parent holds other things too.
fn holds_versions(parent: &str, name: &str) -> bool {
    match parent {
        "/opt/homebrew/opt" | "/usr/local/opt" => name.starts_with("postgresql"),
        "/usr" => name.starts_with("pgsql-"),
        _ => true,
    }
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
