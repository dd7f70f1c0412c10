//! `cargo xtask release`: turns the tree into a release of one service. It writes the version, the
//! change notes and what is generated from them. A person commits, tags and pushes; the tag
//! `SERVICE-vVERSION` starts .github/workflows/release.yaml.

mod manifest;
mod notes;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use chrono::{NaiveDate, Utc};
use quartet_devstack::workspace;
use semver::Version;

use crate::cargo::{cargo, succeed};
use crate::contract::exceptions;
use crate::service::Service;
use crate::signals::Signals;
use crate::{api_diff, generate, git};

#[derive(clap::Args)]
pub(crate) struct Args {
    service: Service,
    /// Three numbers, such as 0.2.0
    #[arg(value_parser = plain_version)]
    version: Version,
    /// Only check that the tree is this release, and print its change notes
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: Args, signals: &Signals) -> anyhow::Result<ExitCode> {
    let release = Release::new(&workspace::root(), args.service, args.version)?;
    if args.check {
        print!("{}", release.notes()?);
    } else {
        release.prepare(signals)?;
        print!("{}", release.next_steps());
    }
    Ok(ExitCode::SUCCESS)
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
    service: Service,
    version: Version,
    /// The version in the manifest, and the tag of the last release.
    current: Version,
    last: Option<String>,
}

impl Release {
    fn new(root: &Path, service: Service, version: Version) -> anyhow::Result<Self> {
        let path = root.join(service.file("Cargo.toml"));
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(Self {
            current: manifest::version(&text)?,
            last: git::last_release(root, service)?,
            root: root.to_path_buf(),
            service,
            version,
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root.join(self.service.file(name))
    }

    /// Writes everything that contains the version.
    fn prepare(&self, signals: &Signals) -> anyhow::Result<()> {
        self.require_later()?;
        self.require_version_for_breaking_changes(signals)?;
        let change_notes = self.file("CHANGELOG.md");
        let text = fs::read_to_string(&change_notes)?;
        let dated = notes::dated(&text, &self.version, today())
            .with_context(|| change_notes.display().to_string())?;
        let manifest = self.file("Cargo.toml");
        let text = fs::read_to_string(&manifest)?;
        fs::write(&manifest, manifest::with_version(&text, &self.version)?)?;
        fs::write(&change_notes, dated)?;
        // They were about the tests of the release before; this one has tests of its own.
        match fs::remove_file(self.file(exceptions::FILE)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        println!(
            "{} is now at {}; updating generated files",
            self.service, self.version
        );
        let lock_file = cargo(["update", "--workspace", "--offline", "--quiet"]);
        succeed(lock_file, signals)?;
        // The documents contain the version.
        let outcome = generate::write(false, signals)?;
        ensure!(
            outcome == ExitCode::SUCCESS,
            "the generated files could not be written"
        );
        Ok(())
    }

    /// A release comes after the last one; the first one may have the current version.
    fn require_later(&self) -> anyhow::Result<()> {
        let Self {
            service,
            version,
            current,
            ..
        } = self;
        let first = self.last.is_none() && version == current;
        ensure!(
            first || version > current,
            "{service} is at {current} already; {version} is not later"
        );
        Ok(())
    }

    fn require_version_for_breaking_changes(&self, signals: &Signals) -> anyhow::Result<()> {
        let service = self.service;
        let Some(last) = &self.last else {
            println!("{service} was not released before, so nothing can break");
            return Ok(());
        };
        let kind = if self.current.major == 0 {
            "minor"
        } else {
            "major"
        };
        ensure!(
            may_break(&self.current, &self.version)
                || !api_diff::compare(&self.root, service, last, signals)?.is_breaking(),
            "clients of {last} would break (see `cargo xtask api-diff {service}`), which needs a \
             new {kind} version"
        );
        Ok(())
    }

    fn next_steps(&self) -> String {
        let Self {
            service, version, ..
        } = self;
        let tag = format!("{service}-v{version}");
        format!(
            "\nReview the changes, then:\n\
             \n\
             \x20 git commit --all --message \"Release {service} {version}\"\n\
             \x20 git push\n\
             \x20 git tag --annotate {tag} --message \"{service} {version}\"\n\
             \x20 git push origin {tag}\n\
             \n\
             The tag builds and signs the image and creates the release page.\n"
        )
    }

    /// The change notes of the version, if the whole tree is at it.
    fn notes(&self) -> anyhow::Result<String> {
        let Self {
            service,
            version,
            current,
            ..
        } = self;
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
