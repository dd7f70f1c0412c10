//! `cargo xtask release`: makes a release of one service out of the tree. It writes the
//! version, the change notes and what is generated from them; a person commits, tags and
//! pushes, and the tag `SERVICE-vVERSION` does the rest (.github/workflows/release.yaml).

mod manifest;
mod notes;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use chrono::{NaiveDate, Utc};
use quartet_devstack::workspace;
use semver::Version;

use crate::cargo::{cargo, succeed};
use crate::contract::exceptions;
use crate::signals::Signals;
use crate::{api_diff, generate, git};

const SERVICES: [&str; 4] = ["core", "media", "links", "gateway"];

pub(crate) fn run(words: &[&str], signals: &Signals) -> anyhow::Result<ExitCode> {
    let (check, names): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| **word == "--check");
    let [service, version] = names[..] else {
        bail!("name a service and a version: `cargo xtask release core 0.2.0`");
    };
    let service = SERVICES
        .into_iter()
        .find(|known| *known == service)
        .with_context(|| format!("there is no service `{service}`"))?;
    let release = Release::new(&workspace::root(), service, plain_version(version)?)?;
    if check.is_empty() {
        release.prepare(signals)?;
        print!("{}", release.next_steps());
    } else {
        print!("{}", release.notes_of_this_tree()?);
    }
    Ok(ExitCode::SUCCESS)
}

/// Three numbers: what is released is neither a candidate nor a build.
fn plain_version(text: &str) -> anyhow::Result<Version> {
    let version: Version = text
        .parse()
        .with_context(|| format!("`{text}` is no version such as 0.2.0"))?;
    ensure!(
        version.pre.is_empty() && version.build.is_empty(),
        "`{text}` is no plain version such as 0.2.0"
    );
    Ok(version)
}

struct Release {
    root: PathBuf,
    service: &'static str,
    version: Version,
    /// The version in the manifest, and the tag of the last release.
    current: Version,
    last: Option<String>,
}

impl Release {
    fn new(root: &Path, service: &'static str, version: Version) -> anyhow::Result<Self> {
        let path = root.join("services").join(service).join("Cargo.toml");
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
        self.root.join("services").join(self.service).join(name)
    }

    fn tag(&self) -> String {
        format!("{}-v{}", self.service, self.version)
    }

    /// Writes everything that carries the version.
    fn prepare(&self, signals: &Signals) -> anyhow::Result<()> {
        self.require_later()?;
        self.require_room_for_what_breaks()?;
        let change_notes = self.file("CHANGELOG.md");
        let text = fs::read_to_string(&change_notes)?;
        let dated = notes::dated(&text, &self.version, today())
            .with_context(|| change_notes.display().to_string())?;
        let manifest = self.file("Cargo.toml");
        let text = fs::read_to_string(&manifest)?;
        fs::write(&manifest, manifest::with_version(&text, &self.version)?)?;
        fs::write(&change_notes, dated)?;
        // They were about the release before; this one's tests know better.
        match fs::remove_file(exceptions::file(&self.root, self.service)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        println!(
            "{} is at {} now; writing what follows from that",
            self.service, self.version
        );
        succeed(
            cargo(["update", "--workspace", "--offline", "--quiet"]),
            signals,
        )?;
        // The documents tell the version.
        let outcome = generate::run(&[], signals)?;
        ensure!(
            outcome == ExitCode::SUCCESS,
            "the generated files could not be written"
        );
        Ok(())
    }

    /// A release comes after the last one; the first one may have the version that is there.
    fn require_later(&self) -> anyhow::Result<()> {
        let first = self.last.is_none() && self.version == self.current;
        ensure!(
            first || self.version > self.current,
            "{} is at {} already; {} is not later",
            self.service,
            self.current,
            self.version
        );
        Ok(())
    }

    /// Whoever uses the last release may rely on it until the version says otherwise.
    fn require_room_for_what_breaks(&self) -> anyhow::Result<()> {
        let Some(last) = &self.last else {
            println!("{} was not released before: it breaks nobody", self.service);
            return Ok(());
        };
        let report = api_diff::compare(&self.root, self.service, Some(last))?;
        ensure!(
            !report.is_breaking() || may_break(&self.current, &self.version),
            "clients of {last} would break (`cargo xtask api-diff {}` tells how): that needs {}",
            self.service,
            if self.current.major == 0 {
                "a new minor version"
            } else {
                "a new major version"
            }
        );
        Ok(())
    }

    fn next_steps(&self) -> String {
        let Self {
            service, version, ..
        } = self;
        let tag = self.tag();
        format!(
            "\nLook at the difference, then:\n\
             \n\
             \x20 git commit --all --message \"Release {service} {version}\"\n\
             \x20 git push\n\
             \x20 git tag --annotate {tag} --message \"{service} {version}\"\n\
             \x20 git push origin {tag}\n\
             \n\
             The tag makes the image, its signature and the release page.\n"
        )
    }

    /// The change notes of the version, if the whole tree is at it.
    fn notes_of_this_tree(&self) -> anyhow::Result<String> {
        ensure!(
            self.version == self.current,
            "services/{}/Cargo.toml says {}, not {}",
            self.service,
            self.current,
            self.version
        );
        let text = fs::read_to_string(self.file("CHANGELOG.md"))?;
        notes::of(&text, &self.version).with_context(|| {
            format!(
                "services/{}/CHANGELOG.md has no section {}",
                self.service, self.version
            )
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "no service: the day of the release"
)]
fn today() -> NaiveDate {
    Utc::now().date_naive()
}

/// Below 1.0 the minor version tells what breaks.
fn may_break(from: &Version, to: &Version) -> bool {
    to.major > from.major || (from.major == 0 && to.minor > from.minor)
}

#[cfg(test)]
mod tests;
