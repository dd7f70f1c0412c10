//! `cargo xtask release`: turns the tree into a release of one service. It writes the version, the
//! change notes and what is generated from them. A person commits, tags and pushes; the tag
//! `SERVICE-vVERSION` starts .github/workflows/release.yaml.

mod manifest;
mod notes;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use chrono::{NaiveDate, Utc};
use quartet_devstack::workspace;
use semver::Version;

use crate::cargo::{SERVICES, cargo, succeed};
use crate::{api_diff, contract, generate, git};

const NEXT_STEPS: &str = include_str!("next-steps.txt");

#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(value_parser = SERVICES)]
    service: String,
    /// Three numbers, such as 0.2.0
    #[arg(value_parser = plain_version)]
    version: Version,
    /// Only check that the tree is this release, and print its change notes
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let release = Release::new(&workspace::root(), args.service, args.version)?;
    if args.check {
        print!("{}", release.notes()?);
    } else {
        release.prepare()?;
        let steps = NEXT_STEPS.replace("{service}", &release.service);
        print!(
            "{}",
            steps.replace("{version}", &release.version.to_string())
        );
    }
    Ok(())
}

/// Three numbers: neither candidates nor builds are released.
fn plain_version(text: &str) -> anyhow::Result<Version> {
    let version = text.parse::<Version>().ok();
    version
        .filter(|version| version.pre.is_empty() && version.build.is_empty())
        .with_context(|| format!("`{text}` is not a version such as 0.2.0"))
}

struct Release {
    root: PathBuf,
    service: String,
    version: Version,
    /// The version in the manifest, and the tag of the last release.
    current: Version,
    last: Option<String>,
}

impl Release {
    fn new(root: &Path, service: String, version: Version) -> anyhow::Result<Self> {
        let path = root.join(format!("services/{service}/Cargo.toml"));
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(Self {
            current: manifest::version(&text)?,
            last: git::last_release(root, &service)?,
            root: root.to_path_buf(),
            service,
            version,
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root.join("services").join(&self.service).join(name)
    }

    /// Writes everything that contains the version.
    fn prepare(&self) -> anyhow::Result<()> {
        self.require_later()?;
        self.require_version_for_breaking_changes()?;
        let change_notes = self.file("CHANGELOG.md");
        let text = fs::read_to_string(&change_notes)?;
        let dated = notes::dated(&text, &self.version, today())
            .with_context(|| change_notes.display().to_string())?;
        let manifest = self.file("Cargo.toml");
        let text = fs::read_to_string(&manifest)?;
        fs::write(&manifest, manifest::with_version(&text, &self.version)?)?;
        fs::write(&change_notes, dated)?;
        // They were about the tests of the release before; this one has tests of its own.
        let exceptions = self.file(contract::EXCEPTIONS);
        if exceptions.exists() {
            fs::remove_file(exceptions)?;
        }
        let (service, version) = (&self.service, &self.version);
        println!("{service} is now at {version}; updating generated files");
        succeed(cargo(["update", "--workspace", "--offline", "--quiet"]))?;
        // The documents contain the version.
        generate::write(false)
    }

    /// A release comes after the last one; the first one may have the current version.
    fn require_later(&self) -> anyhow::Result<()> {
        let (version, current) = (&self.version, &self.current);
        let is_first = self.last.is_none() && version == current;
        ensure!(
            is_first || version > current,
            "{} is at {current} already; {version} is not later",
            self.service
        );
        Ok(())
    }

    fn require_version_for_breaking_changes(&self) -> anyhow::Result<()> {
        let service = &self.service;
        let Some(last) = &self.last else {
            println!("{service} was not released before, so nothing can break");
            return Ok(());
        };
        if may_break(&self.current, &self.version) {
            return Ok(());
        }
        let kind = if self.current.major == 0 {
            "minor"
        } else {
            "major"
        };
        let changes = api_diff::changes(&self.root, service, last)?;
        ensure!(
            !changes.iter().any(|change| change.breaking),
            "clients of {last} would break (see `cargo xtask api-diff {service}`), which needs a \
             new {kind} version"
        );
        Ok(())
    }

    /// The change notes of the version, if the whole tree is at it.
    fn notes(&self) -> anyhow::Result<String> {
        let (service, version, current) = (&self.service, &self.version, &self.current);
        ensure!(
            version == current,
            "services/{service}/Cargo.toml says {current}, not {version}"
        );
        let text = fs::read_to_string(self.file("CHANGELOG.md"))?;
        notes::of(&text, version)
            .with_context(|| format!("services/{service}/CHANGELOG.md has no section {version}"))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "not in a service: the day of the release"
)]
fn today() -> NaiveDate {
    Utc::now().date_naive()
}

/// Below 1.0 a new minor version may break clients.
fn may_break(from: &Version, to: &Version) -> bool {
    to.major > from.major || (from.major == 0 && to.minor > from.minor)
}

#[cfg(test)]
mod tests;
